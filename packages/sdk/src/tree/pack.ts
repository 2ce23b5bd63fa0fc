import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { FileKind, type TreeFrame, TreeFrameSchema } from "@exai/api/guest";
import { SdkError } from "../errors.ts";
import { showPath } from "./paths.ts";
import { local, type Walked, walk } from "./walk.ts";

/** Bytes of file content in one frame. */
export const frameBytes = 256 * 1024;

export interface TreeProgress {
  files: number;
  directories: number;
  links: number;
  /** Content bytes so far. */
  bytes: number;
  /** Sum of all file sizes; known from the start for an upload, 0 for a download. */
  totalBytes: number;
  /** Sockets, fifos and devices: left out. */
  skipped: number;
}

export type OnProgress = (progress: Readonly<TreeProgress>) => void;

export const newProgress = (): TreeProgress => ({
  files: 0,
  directories: 0,
  links: 0,
  bytes: 0,
  totalBytes: 0,
  skipped: 0,
});

export interface PackOptions {
  /** Where it goes in the guest: absolute. */
  readonly destination: string;
  readonly user?: string;
  readonly onProgress?: OnProgress;
}

/** Walks a tree for its size and for anything that can't be sent, before the first byte goes out. */
export async function measureTree(root: string): Promise<number> {
  let bytes = 0;
  for await (const entry of walk(root)) if (entry.kind === "file") bytes += Number(entry.stat.size);
  return bytes;
}

/**
 * A local file or tree as frames. Modes, mtimes and links are kept; owners are not, since the guest has users of its own.
 * @throws SdkError `local`, `unsafe-tree`, `tree-changed` (a file's size changed while it was read)
 */
export async function* packTree(root: string, options: PackOptions): AsyncGenerator<TreeFrame> {
  const progress = newProgress();
  progress.totalBytes = await measureTree(root);
  yield frame({
    case: "root",
    value: {
      path: Buffer.from(options.destination),
      context: { user: options.user ?? "" },
      sizeBytes: BigInt(progress.totalBytes),
    },
  });
  for await (const entry of walk(root)) {
    if (entry.kind === "other") progress.skipped++;
    else if (entry.kind === "file") yield* packFile(entry, progress, options.onProgress);
    else {
      if (entry.kind === "directory") progress.directories++;
      else progress.links++;
      yield entryFrame(entry, 0n);
    }
    options.onProgress?.(progress);
  }
  yield frame({
    case: "end",
    value: {
      files: BigInt(progress.files),
      directories: BigInt(progress.directories),
      links: BigInt(progress.links),
      bytes: BigInt(progress.bytes),
      skipped: BigInt(progress.skipped),
    },
  });
}

async function* packFile(entry: Walked, progress: TreeProgress, onProgress?: OnProgress): AsyncGenerator<TreeFrame> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  await using file = await local(entry.localPath, open(entry.localPath, flags));
  const stat = await file.stat({ bigint: true });
  if (!stat.isFile()) throw changed(entry);
  const size = Number(stat.size);
  yield entryFrame({ ...entry, stat }, stat.size);
  // One read goes on while the frame before it is sent.
  const read = (at: number) => {
    const buffer = Buffer.allocUnsafeSlow(Math.min(frameBytes, size - at));
    return local(entry.localPath, file.read(buffer, 0, buffer.length, at)).then(({ bytesRead }) => ({
      buffer,
      bytesRead,
    }));
  };
  let next = size > 0 ? read(0) : undefined;
  for (let at = 0; next !== undefined; ) {
    const { buffer, bytesRead } = await next;
    if (bytesRead === 0) throw changed(entry);
    at += bytesRead;
    next = at < size ? read(at) : undefined;
    next?.catch(() => undefined); // thrown when it is awaited, unless the receiver went away before
    progress.bytes += bytesRead;
    onProgress?.(progress);
    yield frame({ case: "data", value: bytesRead === buffer.length ? buffer : buffer.subarray(0, bytesRead) });
  }
  const after = await file.stat({ bigint: true });
  if (after.size !== stat.size) throw changed(entry);
  progress.files++;
}

const changed = (entry: Walked) =>
  new SdkError("tree-changed", `${showPath(entry.localPath)} changed while it was read; copy it again`);

const kinds = {
  file: FileKind.FILE,
  directory: FileKind.DIRECTORY,
  symlink: FileKind.SYMLINK,
  other: FileKind.OTHER,
} as const;

const entryFrame = (entry: Walked, sizeBytes: bigint): TreeFrame =>
  frame({
    case: "entry",
    value: {
      path: entry.path,
      kind: kinds[entry.kind],
      mode: Number(entry.stat.mode) & 0o7777,
      sizeBytes,
      mtimeNs: entry.stat.mtimeNs,
      linkTarget: entry.linkTarget ?? new Uint8Array(0),
    },
  });

type Frame = NonNullable<Exclude<MessageInitShape<typeof TreeFrameSchema>, TreeFrame>["frame"]>;

const frame = (value: Frame): TreeFrame => create(TreeFrameSchema, { frame: value });
