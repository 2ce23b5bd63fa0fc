import {
  closeSync,
  existsSync,
  fchmodSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { RecordCursor } from "./chunks.ts";
import { type ChainState, decodeSegmentHeader, encodeSegmentHeader, segmentHeaderBytes } from "./record.ts";

export const reserveName = "reserve.spool";
/** Last bytes of the file: the gap that was counted when the rest was full. */
const gapSlotBytes = 1024;

/**
 * Space that was taken when there was some: a file of zeros whose blocks are allocated. When nothing else can be
 * written, the records of containing steps go on in here, as in one more segment, and are moved behind the others when
 * there is space again. On a file system that copies on write this is best effort.
 *
 *   reserve = segment header, or zeros when unused | record … | gap slot: length (4), the signed gap
 */
export class Reserve implements Disposable {
  readonly #fd: number;
  readonly #bytes: number;
  #used = 0;

  constructor(folder: string, bytes: number) {
    const path = join(folder, reserveName);
    if (!existsSync(path)) allocate(path, bytes);
    this.#fd = openSync(path, "r+");
    // An earlier process may have had another quota; what is there keeps its size.
    this.#bytes = fstatSync(this.#fd).size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Records of an earlier process, with the chain before each and after all; undefined when unused. */
  kept(): { before: ChainState[]; records: Buffer[]; after: ChainState } | undefined {
    const first = decodeSegmentHeader(this.#read(0, segmentHeaderBytes));
    if (first === undefined) return undefined;
    const cursor = new RecordCursor(this.#fd, first, segmentHeaderBytes);
    const before: ChainState[] = [];
    const records: Buffer[] = [];
    for (;;) {
      const { at, offset } = cursor;
      if (cursor.next().found !== "record") break;
      before.push(at);
      records.push(this.#read(offset, cursor.offset - offset));
    }
    this.#used = cursor.offset;
    return { before, records, after: cursor.at };
  }

  get used(): boolean {
    return this.#used > 0;
  }

  /** Writes in place, without waiting for the disk. @returns false when it does not fit */
  append(at: ChainState, record: Buffer): boolean {
    const start = this.#used === 0 ? segmentHeaderBytes : this.#used;
    if (start + record.length > this.#bytes - gapSlotBytes) return false;
    // The record first: a header without it would be an unused reserve that looks used, which is harmless too.
    writeAll(this.#fd, record, start);
    if (this.#used === 0) writeAll(this.#fd, encodeSegmentHeader(at), 0);
    this.#used = start + record.length;
    return true;
  }

  sync(): void {
    fdatasyncSync(this.#fd);
  }

  /** Forgets the records, which were moved. Bytes behind a new header are old, and no chain leads to them. */
  clear(): void {
    writeAll(this.#fd, Buffer.alloc(segmentHeaderBytes), 0);
    fdatasyncSync(this.#fd);
    this.#used = 0;
  }

  writeGap(signed: Buffer | undefined): void {
    const slot = Buffer.alloc(gapSlotBytes);
    if (signed !== undefined) {
      slot.writeUInt32BE(signed.length, 0);
      signed.copy(slot, 4);
    }
    writeAll(this.#fd, slot, this.#bytes - gapSlotBytes);
  }

  readGap(): Buffer | undefined {
    const slot = this.#read(this.#bytes - gapSlotBytes, gapSlotBytes);
    const length = slot.length === gapSlotBytes ? slot.readUInt32BE(0) : 0;
    return length === 0 || length > gapSlotBytes - 4 ? undefined : slot.subarray(4, 4 + length);
  }

  #read(offset: number, bytes: number): Buffer {
    const buffer = Buffer.alloc(bytes);
    return buffer.subarray(0, readSync(this.#fd, buffer, 0, bytes, offset));
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

function allocate(path: string, bytes: number): void {
  const fd = openSync(`${path}.new`, "w");
  try {
    fchmodSync(fd, 0o644); // whatever the umask: it holds ciphertext, and the tenant's channel reads it
    writeAll(fd, Buffer.alloc(bytes), 0);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(`${path}.new`, path);
}

function writeAll(fd: number, bytes: Buffer, offset: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
}
