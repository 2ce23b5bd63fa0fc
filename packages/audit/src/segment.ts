import {
  closeSync,
  fchmodSync,
  fdatasync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { RecordCursor } from "./chunks.ts";
import {
  type ChainState,
  decodeSegmentHeader,
  encodeSegmentHeader,
  firstChain,
  segmentHeaderBytes,
  segmentName,
  segmentSequence,
} from "./record.ts";

const syncAsync = promisify(fdatasync);

/** The segment files of a folder, oldest first. */
export function listSegments(folder: string): { name: string; sequence: number }[] {
  const found: { name: string; sequence: number }[] = [];
  for (const name of readdirSync(folder)) {
    const sequence = segmentSequence(name);
    if (sequence !== undefined) found.push({ name, sequence });
  }
  return found.sort((a, b) => a.sequence - b.sequence);
}

/** The file that is appended to. One process at a time writes a folder; who starts it sees to that. */
export class Segment implements Disposable {
  readonly #fd: number;
  #size: number;

  constructor(fd: number, size: number) {
    this.#fd = fd;
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  /** Durable, with its name, before it returns. */
  static create(folder: string, at: ChainState): Segment {
    const path = join(folder, segmentName(at.sequence));
    const fd = openSync(path, "wx+");
    try {
      fchmodSync(fd, 0o644); // whatever the umask: it holds ciphertext, and the tenant's channel reads it
      const segment = new Segment(fd, 0);
      segment.#writeHeader(at);
      syncFolder(folder);
      return segment;
    } catch (error) {
      closeSync(fd);
      rmSync(path, { force: true });
      throw error;
    }
  }

  #writeHeader(at: ChainState): void {
    const header = encodeSegmentHeader(at);
    // Short writes of 48 bytes happen on a full disk only; then the next one says ENOSPC.
    writeFully(this.#fd, header);
    fsyncSync(this.#fd);
    this.#size = header.length;
  }

  /**
   * Appends as much as the disk takes. To the page cache, which a trip through another thread costs more than.
   * @returns bytes written, and the error that stopped it
   */
  append(bytes: Buffer): { written: number; error: unknown } {
    let written = 0;
    try {
      while (written < bytes.length) {
        const at = this.#size + written;
        written += writeSync(this.#fd, bytes, written, bytes.length - written, at);
      }
      return { written, error: undefined };
    } catch (error) {
      return { written, error };
    }
  }

  /** What was appended up to here counts; the rest is cut off. */
  keep(bytes: number, cut: boolean): void {
    this.#size += bytes;
    if (cut) ftruncateSync(this.#fd, this.#size);
  }

  async sync(): Promise<void> {
    await syncAsync(this.#fd);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

export interface Recovered {
  readonly at: ChainState;
  /** undefined when the next record must begin a new file. */
  readonly segment: Segment | undefined;
  /** Bytes of a record that was being written when the process or the machine died. */
  readonly cutBytes: number;
}

/** Finds where the chain goes on. A torn last record is cut; other damage stays, and a new file begins behind it. */
export function recoverSegments(folder: string): Recovered {
  const last = listSegments(folder).at(-1);
  if (last === undefined) return { at: { sequence: 1, chain: firstChain }, segment: undefined, cutBytes: 0 };
  const path = join(folder, last.name);
  const fd = openSync(path, "r+");
  const head = Buffer.alloc(segmentHeaderBytes);
  const first = decodeSegmentHeader(head.subarray(0, readSync(fd, head, 0, head.length, 0)));
  if (first === undefined || first.sequence !== last.sequence) {
    // It died between making the file and its header; no record can be in it.
    closeSync(fd);
    rmSync(path);
    return recoverSegments(folder);
  }
  const cursor = new RecordCursor(fd, first, segmentHeaderBytes);
  let end = cursor.next();
  while (end.found === "record") end = cursor.next();
  const cutBytes = fstatSync(fd).size - cursor.offset;
  if (end.found === "broken") {
    closeSync(fd);
    return { at: cursor.at, segment: undefined, cutBytes };
  }
  if (cutBytes > 0) {
    ftruncateSync(fd, cursor.offset);
    fsyncSync(fd);
  }
  return { at: cursor.at, segment: new Segment(fd, cursor.offset), cutBytes };
}

function writeFully(fd: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, done);
}

export function syncFolder(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
