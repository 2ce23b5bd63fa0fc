import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { FolderChanges } from "@exai/audit";
import { errorCode } from "@exai/base";

const chunkBytes = 32 << 10;
const older = "console.log.1";
const newest = "console.log";

/**
 * What a guest printed: the older file of the launcher's ring, then the newest, and with `follow` what comes, over every
 * turn of the ring. Ends by itself without `follow`, else when the signal fires.
 * @param folder `vm/<workspace>`
 */
export async function* readConsole(
  folder: string,
  follow: boolean,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, void> {
  using changes = new FolderChanges(folder, follow);
  using before = OpenLog.open(join(folder, older));
  if (before !== undefined) yield* before.rest();
  using ring = new RingReader(join(folder, newest));
  while (!signal.aborted) {
    yield* ring.rest();
    if (!follow) return;
    await changes.wait(signal);
  }
}

class RingReader implements Disposable {
  readonly #path: string;
  #log: OpenLog | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  *rest(): Generator<Buffer, void, void> {
    for (;;) {
      this.#log ??= OpenLog.open(this.#path);
      if (this.#log === undefined) return;
      // Asked before the read: what was written before the ring turned is then all read.
      const turned = this.#log.isReplaced(this.#path);
      yield* this.#log.rest();
      if (!turned) return;
      this.#log[Symbol.dispose]();
      this.#log = undefined;
    }
  }

  [Symbol.dispose](): void {
    this.#log?.[Symbol.dispose]();
  }
}

class OpenLog implements Disposable {
  readonly #fd: number;
  readonly #inode: number;
  #offset = 0;

  constructor(fd: number) {
    this.#fd = fd;
    this.#inode = fstatSync(fd).ino;
  }

  static open(path: string): OpenLog | undefined {
    try {
      return new OpenLog(openSync(path, "r"));
    } catch (error) {
      if (errorCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  isReplaced(path: string): boolean {
    try {
      return statSync(path).ino !== this.#inode;
    } catch {
      return true;
    }
  }

  *rest(): Generator<Buffer, void, void> {
    if (fstatSync(this.#fd).size < this.#offset) this.#offset = 0; // truncated: a new launch
    for (;;) {
      const chunk = Buffer.allocUnsafe(chunkBytes);
      const count = readSync(this.#fd, chunk, 0, chunkBytes, this.#offset);
      if (count === 0) return;
      this.#offset += count;
      yield chunk.subarray(0, count);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
