import { create } from "@bufbuild/protobuf";
import {
  type PathRequest,
  PathRequestSchema,
  WatchEvent_Kind,
  type WriteRequest,
  WriteRequestSchema,
} from "@exai/api/guest";
import { toSdkError } from "../data/errors.ts";
import type { PlaneSource } from "../data/plane.ts";
import { SdkError } from "../errors.ts";
import { frameBytes, packTree, type TreeProgress } from "../tree/pack.ts";
import { unpackTree } from "../tree/unpack.ts";
import { type FileEntry, fileEntry } from "./entry.ts";
import type { ByteRange, Content, CopyOptions, FileOptions, WatchedChange, WriteOptions } from "./files.ts";
import { localName, localTarget } from "./target.ts";

/** What `Files` does, on the data plane; loaded when the first file is touched. */
export class FileCalls {
  readonly #plane: PlaneSource;
  constructor(plane: PlaneSource) {
    this.#plane = plane;
  }

  /** @throws SdkError `not-found`, `denied` */
  async stat(path: string, options: FileOptions = {}): Promise<FileEntry> {
    const plane = await this.#plane();
    return await named(`stat ${path}`, async () =>
      fileEntry(await plane.files.stat(request(path, options), call(options))),
    );
  }

  async *list(path: string, options: FileOptions = {}): AsyncGenerator<FileEntry> {
    const plane = await this.#plane();
    try {
      for await (const info of plane.files.list(request(path, options), call(options))) yield fileEntry(info);
    } catch (error) {
      throw toSdkError(error, `list ${path}`);
    }
  }

  /** A whole file, bounded. @throws SdkError `exhausted` when it is longer than `maxBytes` (default 64 MiB) */
  async read(path: string, options: FileOptions & { maxBytes?: number } = {}): Promise<Buffer> {
    const most = options.maxBytes ?? 64 << 20;
    const parts: Uint8Array[] = [];
    let length = 0;
    for await (const part of this.readStream(path, options)) {
      length += part.length;
      if (length > most) throw new SdkError("exhausted", `${path} is longer than ${most} bytes; use readStream`);
      parts.push(part);
    }
    return Buffer.concat(parts, length);
  }

  async *readStream(path: string, options: FileOptions & ByteRange = {}): AsyncGenerator<Uint8Array> {
    const plane = await this.#plane();
    const range = { offset: BigInt(options.offset ?? 0), length: BigInt(options.length ?? 0) };
    const { path: bytes, context } = request(path, options);
    try {
      for await (const chunk of plane.files.read(
        { path: bytes, ...(context ? { context } : {}), ...range },
        call(options),
      )) {
        yield chunk.data;
      }
    } catch (error) {
      throw toSdkError(error, `read ${path}`);
    }
  }

  /** Replaces a file as a whole: a write that breaks leaves the old one. */
  async write(path: string, content: Content, options: WriteOptions = {}): Promise<FileEntry> {
    const plane = await this.#plane();
    const frames = writeFrames(path, content, options);
    return await named(`write ${path}`, async () => fileEntry(await plane.files.write(frames, call(options))));
  }

  async mkdir(path: string, options: FileOptions & { mode?: number; parents?: boolean } = {}): Promise<FileEntry> {
    const plane = await this.#plane();
    const mkdir = { ...plain(path, options), mode: options.mode ?? 0o755, parents: options.parents ?? false };
    return await named(`mkdir ${path}`, async () => fileEntry(await plane.files.mkdir(mkdir, call(options))));
  }

  async rename(from: string, to: string, options: FileOptions = {}): Promise<void> {
    const plane = await this.#plane();
    const rename = { from: pathBytes(from), to: pathBytes(to), context: { user: options.user ?? "" } };
    await named(`rename ${from}`, () => plane.files.rename(rename, call(options)));
  }

  async remove(path: string, options: FileOptions & { recursive?: boolean } = {}): Promise<void> {
    const plane = await this.#plane();
    const remove = { ...plain(path, options), recursive: options.recursive ?? false };
    await named(`remove ${path}`, () => plane.files.remove(remove, call(options)));
  }

  /** Changes below a path, until the loop is left or `signal` fires. The first is `ready`. */
  async *watch(path: string, options: FileOptions & { recursive?: boolean } = {}): AsyncGenerator<WatchedChange> {
    const plane = await this.#plane();
    const watch = { ...plain(path, options), recursive: options.recursive ?? false };
    try {
      for await (const event of plane.files.watch(watch, call(options))) {
        const movedTo = event.movedTo.length > 0 ? text(event.movedTo) : undefined;
        yield { kind: changeKinds[event.kind] ?? "overflow", path: text(event.path), movedTo };
      }
    } catch (error) {
      throw toSdkError(error, `watch ${path}`);
    }
  }

  /** One extended attribute, or all names with their values. */
  async getXattr(path: string, name = "", options: FileOptions = {}): Promise<ReadonlyMap<string, Uint8Array>> {
    const plane = await this.#plane();
    const answer = await named(`xattr of ${path}`, () =>
      plane.files.getXattr({ ...plain(path, options), name }, call(options)),
    );
    return new Map(answer.attributes.map((each) => [each.name, each.value]));
  }

  /** `undefined` removes it. */
  async setXattr(path: string, name: string, value: Uint8Array | undefined, options: FileOptions = {}): Promise<void> {
    const plane = await this.#plane();
    const change = { ...plain(path, options), name, value: value ?? new Uint8Array(0), remove: value === undefined };
    await named(`xattr of ${path}`, () => plane.files.setXattr(change, call(options)));
  }

  /**
   * Copies a local file or tree into the guest. As `cp -r` does: into `destination` when that is a folder or ends in a
   * slash, else as `destination`.
   * @throws SdkError `local`, `unsafe-tree`, `tree-changed`, `exhausted` (the disk is too small)
   */
  async upload(localPath: string, destination: string, options: CopyOptions = {}): Promise<TreeProgress> {
    const plane = await this.#plane();
    const target = await this.#target(localPath, destination, options);
    let latest: TreeProgress | undefined;
    let failure: unknown;
    const frames = packTree(localPath, {
      destination: target,
      ...(options.user === undefined ? {} : { user: options.user }),
      onProgress: (progress) => {
        latest = progress;
        options.onProgress?.(progress);
      },
    });
    // Errors of this side would come back as a cancelled call; keep the reason.
    const kept = rethrowing(frames, (error) => {
      failure = error;
    });
    try {
      await plane.files.writeTree(kept, call(options));
    } catch (error) {
      throw failure instanceof SdkError ? failure : toSdkError(error, `copy to ${target}`);
    }
    if (latest === undefined) throw new SdkError("internal", "nothing was sent");
    return latest;
  }

  /** Copies a file or tree of the guest, which is not trusted, to this machine. The same rules for `localPath`. */
  async download(source: string, localPath: string, options: CopyOptions = {}): Promise<TreeProgress> {
    const plane = await this.#plane();
    const destination = await localTarget(source, localPath);
    const frames = plane.files.readTree(request(source, options), call(options));
    try {
      return await unpackTree(frames, {
        destination,
        ...(options.onProgress ? { onProgress: options.onProgress } : {}),
      });
    } catch (error) {
      throw toSdkError(error, `copy ${source}`);
    }
  }

  async #target(localPath: string, destination: string, options: FileOptions): Promise<string> {
    const inside = () => `${destination.replace(/\/+$/, "")}/${localName(localPath)}`;
    if (destination.endsWith("/")) return inside();
    try {
      return (await this.stat(destination, options)).kind === "directory" ? inside() : destination;
    } catch (error) {
      if (error instanceof SdkError && error.code === "not-found") return destination;
      throw error;
    }
  }
}

const changeKinds: Readonly<Record<number, WatchedChange["kind"]>> = {
  [WatchEvent_Kind.READY]: "ready",
  [WatchEvent_Kind.CREATED]: "created",
  [WatchEvent_Kind.MODIFIED]: "modified",
  [WatchEvent_Kind.REMOVED]: "removed",
  [WatchEvent_Kind.MOVED]: "moved",
  [WatchEvent_Kind.ATTRIBUTES]: "attributes",
  [WatchEvent_Kind.OVERFLOW]: "overflow",
};

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");

/** @throws SdkError `invalid` */
function pathBytes(path: string): Uint8Array {
  if (!path.startsWith("/")) throw new SdkError("invalid", `the path '${path}' must be absolute`);
  if (path.includes("\0")) throw new SdkError("invalid", "a path must not hold a NUL byte");
  return Buffer.from(path);
}

const plain = (path: string, options: FileOptions) => ({
  path: pathBytes(path),
  context: { user: options.user ?? "" },
});

const request = (path: string, options: FileOptions): PathRequest => create(PathRequestSchema, plain(path, options));

const call = (options: FileOptions) => (options.signal === undefined ? {} : { signal: options.signal });

async function named<T>(what: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw toSdkError(error, what);
  }
}

async function* rethrowing<T>(source: AsyncIterable<T>, onError: (error: unknown) => void): AsyncGenerator<T> {
  try {
    yield* source;
  } catch (error) {
    onError(error);
    throw error;
  }
}

async function* writeFrames(path: string, content: Content, options: WriteOptions): AsyncGenerator<WriteRequest> {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  const size = bytes instanceof Uint8Array ? bytes.length : (options.sizeBytes ?? 0);
  const open = {
    ...plain(path, options),
    mode: options.mode ?? 0o644,
    mtimeNs: options.mtime === undefined ? 0n : BigInt(options.mtime.getTime()) * 1_000_000n,
    parents: options.parents ?? false,
    sizeBytes: BigInt(size),
  };
  yield create(WriteRequestSchema, { frame: { case: "open", value: open } });
  const chunks = bytes instanceof Uint8Array ? [bytes] : bytes;
  for await (const chunk of chunks) {
    for (let from = 0; from < chunk.length; from += frameBytes) {
      yield create(WriteRequestSchema, { frame: { case: "data", value: chunk.subarray(from, from + frameBytes) } });
    }
  }
}
