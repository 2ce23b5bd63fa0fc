import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "@exai/base";
import { RecordCursor } from "./chunks.ts";
import type { SpoolItem } from "./read.ts";
import { type ChainState, decodeSegmentHeader, type SpoolRecord, segmentHeaderBytes } from "./record.ts";
import { reserveName } from "./reserve.ts";
import { listSegments } from "./segment.ts";

interface OpenFile {
  readonly name: string;
  readonly fd: number;
  readonly first: ChainState;
  readonly cursor: RecordCursor;
}

/** Walks the segments of a folder, then the reserve. Synchronous; knows nothing of waiting. */
export class SpoolReader implements Disposable {
  readonly #folder: string;
  #file: OpenFile | undefined;
  /** Sequence of the next record to give; earlier ones are passed over. */
  #wanted = 0;
  #fromReserve: SpoolRecord[] = [];
  #doubts = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** What looks broken at the very end may be a write that is still going on: true while it should be read again. */
  get inDoubt(): boolean {
    return this.#doubts > 0 && this.#doubts < 4;
  }

  skipTo(sequence: number): void {
    this.#wanted = sequence;
  }

  /** Sequence of the newest record; 0 when there is none. */
  lastSequence(): number {
    using reader = new SpoolReader(this.#folder);
    reader.skipTo(listSegments(this.#folder).at(-1)?.sequence ?? 0);
    let last = 0;
    for (let item = reader.next(); item !== undefined; item = reader.next()) last = item.sequence;
    return last;
  }

  /** The next item, or undefined when there is none now. */
  next(): SpoolItem | undefined {
    for (;;) {
      const kept = this.#fromReserve.shift();
      if (kept !== undefined) return this.#give(kept);
      if (this.#file === undefined && !this.#openFirst()) return this.#nextOfReserve();
      const file = this.#file;
      if (file === undefined) return undefined;
      const decoded = file.cursor.next();
      if (decoded.found === "record") {
        if (decoded.record.sequence >= this.#wanted) return this.#give(decoded.record);
        continue;
      }
      const next = this.#following(file);
      if (next === undefined) {
        this.#doubts = decoded.found === "broken" ? this.#doubts + 1 : 0;
        return this.#nextOfReserve();
      }
      const broken = this.#moveTo(next, file);
      if (broken !== undefined) return broken;
    }
  }

  #give(record: SpoolRecord): SpoolRecord {
    this.#wanted = record.sequence + 1;
    this.#doubts = 0;
    return record;
  }

  #openFirst(): boolean {
    const all = listSegments(this.#folder);
    const start = all.findLast(({ sequence }) => sequence <= this.#wanted) ?? all[0];
    this.#file = start === undefined ? undefined : this.#open(start.name);
    return this.#file !== undefined;
  }

  #following(file: OpenFile): OpenFile | undefined {
    const next = listSegments(this.#folder).find(({ name }) => name > file.name);
    return next === undefined ? undefined : this.#open(next.name);
  }

  #moveTo(next: OpenFile, file: OpenFile): SpoolItem | undefined {
    // A writer fills a file, then begins the next: what was not there a moment ago is there now.
    const late = file.cursor.next();
    if (late.found === "record") {
      closeSync(next.fd);
      return late.record.sequence >= this.#wanted ? this.#give(late.record) : undefined;
    }
    const { sequence, chain } = file.cursor.at;
    this.#close();
    this.#file = next;
    // A writer that found damage goes on in a new file from the last good record: then nothing is missing.
    if (next.first.sequence === sequence && next.first.chain.equals(chain)) return undefined;
    this.#wanted = Math.max(this.#wanted, next.first.sequence);
    return { kind: "broken", sequence: next.first.sequence };
  }

  /** Records that wait in the reserve; the writer moves them to a segment later, where they are passed over. */
  #nextOfReserve(): SpoolItem | undefined {
    const reserve = this.#open(reserveName);
    if (reserve === undefined) return undefined;
    try {
      if (reserve.first.sequence > this.#wanted && this.#wanted > 0) return undefined;
      for (let each = reserve.cursor.next(); each.found === "record"; each = reserve.cursor.next()) {
        if (each.record.sequence >= this.#wanted) this.#fromReserve.push(each.record);
      }
    } finally {
      closeSync(reserve.fd);
    }
    const first = this.#fromReserve.shift();
    return first === undefined ? undefined : this.#give(first);
  }

  /** undefined when it is gone, or its header is not written yet. */
  #open(name: string): OpenFile | undefined {
    let fd: number;
    try {
      fd = openSync(join(this.#folder, name), "r");
    } catch (error) {
      if (errorCode(error) === "ENOENT") return undefined;
      throw error;
    }
    const head = Buffer.alloc(segmentHeaderBytes);
    const first = decodeSegmentHeader(head.subarray(0, readSync(fd, head, 0, head.length, 0)));
    if (first !== undefined) return { name, fd, first, cursor: new RecordCursor(fd, first, segmentHeaderBytes) };
    closeSync(fd);
    return undefined;
  }

  #close(): void {
    if (this.#file !== undefined) closeSync(this.#file.fd);
    this.#file = undefined;
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}
