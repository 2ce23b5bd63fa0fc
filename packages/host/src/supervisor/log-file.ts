import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";

const segmentBytes = 512 * 1024;

/** A log of at most two segments: `path` and `path.1`. A disk that is full or fails loses lines, never a process. */
export class LogFile implements Disposable {
  readonly #path: string;
  #fd: number;
  #bytes: number;

  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, "a", 0o644);
    this.#bytes = fstatSync(this.#fd).size;
  }

  write(chunk: Buffer | string): void {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
    try {
      if (this.#bytes + bytes.length > segmentBytes) this.#rotate();
      this.#bytes += writeSync(this.#fd, bytes);
    } catch {
      // Lost: whoever wrote it goes on, and so does the supervisor.
    }
  }

  #rotate(): void {
    renameSync(this.#path, `${this.#path}.1`);
    const next = openSync(this.#path, "a", 0o644);
    closeSync(this.#fd);
    this.#fd = next;
    this.#bytes = 0;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
