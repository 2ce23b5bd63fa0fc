import { readSync } from "node:fs";
import { type ChainState, type Decoded, decodeRecord, longestRecord } from "./record.ts";

const chunkBytes = 256 << 10;

/** Reads the records of one open file one by one; holds at most one chunk. */
export class RecordCursor {
  readonly #fd: number;
  #at: ChainState;
  /** File offset of the next record. */
  #offset: number;
  #buffer: Buffer = Buffer.alloc(0);
  #bufferAt = 0;

  constructor(fd: number, at: ChainState, offset: number) {
    this.#fd = fd;
    this.#at = at;
    this.#offset = offset;
  }

  get at(): ChainState {
    return this.#at;
  }
  get offset(): number {
    return this.#offset;
  }

  /** The next record. After `incomplete` or `broken` the same place is read from the file again. */
  next(): Decoded {
    let decoded = decodeRecord(this.#buffer, this.#bufferAt, this.#at);
    if (decoded.found !== "record") {
      this.#fill();
      decoded = decodeRecord(this.#buffer, 0, this.#at);
    }
    if (decoded.found === "record") {
      this.#bufferAt += decoded.bytes;
      this.#offset += decoded.bytes;
      this.#at = decoded.next;
    }
    return decoded;
  }

  #fill(): void {
    const buffer = Buffer.allocUnsafe(Math.max(chunkBytes, longestRecord));
    let filled = 0;
    while (filled < buffer.length) {
      const count = readSync(this.#fd, buffer, filled, buffer.length - filled, this.#offset + filled);
      if (count === 0) break;
      filled += count;
    }
    this.#buffer = buffer.subarray(0, filled);
    this.#bufferAt = 0;
  }
}
