import type { PlaneSource } from "../data/plane.ts";
import type { OnProgress, TreeProgress } from "../tree/pack.ts";
import type { FileCalls } from "./calls.ts";
import type { FileEntry } from "./entry.ts";

export interface FileOptions {
  /** Act as this user of the guest; default the image's. */
  readonly user?: string;
  readonly signal?: AbortSignal;
}

export interface WriteOptions extends FileOptions {
  /** Permission bits, default 0644. */
  readonly mode?: number;
  readonly mtime?: Date;
  /** Make missing parents. */
  readonly parents?: boolean;
  /** Lets the guest refuse early what its disk can't hold. */
  readonly sizeBytes?: number;
}

export interface CopyOptions extends FileOptions {
  readonly onProgress?: OnProgress;
}

export interface WatchedChange {
  readonly kind: "ready" | "created" | "modified" | "removed" | "moved" | "attributes" | "overflow";
  /** Relative to the watched path; empty for the path itself. */
  readonly path: string;
  readonly movedTo: string | undefined;
}

export interface ByteRange {
  readonly offset?: number;
  /** Default: to the end. */
  readonly length?: number;
}

export type Content = Uint8Array | string | AsyncIterable<Uint8Array>;

/** Files of a workspace. Paths are absolute paths of the guest. */
export class Files {
  readonly #load: () => Promise<FileCalls>;
  constructor(plane: PlaneSource) {
    let calls: Promise<FileCalls> | undefined;
    this.#load = () => {
      calls ??= import("./calls.ts").then(({ FileCalls }) => new FileCalls(plane));
      return calls;
    };
  }

  /** @throws SdkError `not-found`, `denied` */
  async stat(path: string, options: FileOptions = {}): Promise<FileEntry> {
    return (await this.#load()).stat(path, options);
  }

  async *list(path: string, options: FileOptions = {}): AsyncGenerator<FileEntry> {
    yield* (await this.#load()).list(path, options);
  }

  /** A whole file, bounded. @throws SdkError `exhausted` when it is longer than `maxBytes` (default 64 MiB) */
  async read(path: string, options: FileOptions & { maxBytes?: number } = {}): Promise<Buffer> {
    return (await this.#load()).read(path, options);
  }

  async *readStream(path: string, options: FileOptions & ByteRange = {}): AsyncGenerator<Uint8Array> {
    yield* (await this.#load()).readStream(path, options);
  }

  /** Replaces a file as a whole: a write that breaks leaves the old one. */
  async write(path: string, content: Content, options: WriteOptions = {}): Promise<FileEntry> {
    return (await this.#load()).write(path, content, options);
  }

  async mkdir(path: string, options: FileOptions & { mode?: number; parents?: boolean } = {}): Promise<FileEntry> {
    return (await this.#load()).mkdir(path, options);
  }

  async rename(from: string, to: string, options: FileOptions = {}): Promise<void> {
    await (await this.#load()).rename(from, to, options);
  }

  async remove(path: string, options: FileOptions & { recursive?: boolean } = {}): Promise<void> {
    await (await this.#load()).remove(path, options);
  }

  /** Changes below a path, until the loop is left or `signal` fires. The first is `ready`. */
  async *watch(path: string, options: FileOptions & { recursive?: boolean } = {}): AsyncGenerator<WatchedChange> {
    yield* (await this.#load()).watch(path, options);
  }

  /** One extended attribute, or all when `name` is empty. */
  async getXattr(path: string, name = "", options: FileOptions = {}): Promise<ReadonlyMap<string, Uint8Array>> {
    return (await this.#load()).getXattr(path, name, options);
  }

  /** `undefined` removes it. */
  async setXattr(path: string, name: string, value: Uint8Array | undefined, options: FileOptions = {}): Promise<void> {
    await (await this.#load()).setXattr(path, name, value, options);
  }

  /**
   * Copies a local file or tree into the guest. As `cp -r` does: into `destination` when that is a folder or ends in a
   * slash, else as `destination`.
   * @throws SdkError `local`, `unsafe-tree`, `tree-changed`, `exhausted` (the disk is too small)
   */
  async upload(localPath: string, destination: string, options: CopyOptions = {}): Promise<TreeProgress> {
    return (await this.#load()).upload(localPath, destination, options);
  }

  /** Copies a file or tree of the guest, which is not trusted, to this machine. The same rules for `localPath`. */
  async download(source: string, localPath: string, options: CopyOptions = {}): Promise<TreeProgress> {
    return (await this.#load()).download(source, localPath, options);
  }
}
