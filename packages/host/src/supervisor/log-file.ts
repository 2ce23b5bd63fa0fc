import { closeSync, openSync, renameSync, writeSync } from "node:fs";
import { errorCode } from "@exai/base";

const segmentBytes = 512 * 1024;

/** A log of at most two segments: `path` and `path.1`. A full disk loses lines, never a process. */
export class LogFile implements Disposable {
  readonly #path: string;
  #fd: number;
  #bytes = 0;

  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, "a", 0o644);
  }

  write(chunk: Buffer | string): void {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
    if (this.#bytes + bytes.length > segmentBytes) this.#rotate();
    try {
      this.#bytes += writeSync(this.#fd, bytes);
    } catch (error) {
      if (errorCode(error) !== "ENOSPC") throw error;
    }
  }

  #rotate(): void {
    closeSync(this.#fd);
    renameSync(this.#path, `${this.#path}.1`);
    this.#fd = openSync(this.#path, "a", 0o644);
    this.#bytes = 0;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
