import type { KeyObject } from "node:crypto";
import { statSync } from "node:fs";
import { join } from "node:path";
import { errorCode, type TenantId } from "@exai/base";
import { AuditError } from "./errors.ts";
import { type AuditEvent, encodeEvent } from "./event.ts";
import { gapPublicKey, openGap, signGap } from "./gap.ts";
import type { Recipient } from "./hpke.ts";
import { type ChainState, encodeRecord, longestRecord, segmentHeaderBytes } from "./record.ts";
import { Reserve } from "./reserve.ts";
import { logRecipient, sealBytes } from "./seal.ts";
import { listSegments, recoverSegments, Segment } from "./segment.ts";

export interface SpoolOptions {
  /** Exists, and belongs to the writer alone. */
  folder: string;
  tenant: TenantId;
  /** `broker`, `channel`: bound into every record. */
  writer: string;
  /** The tenant's X25519 public key, 32 bytes in base64url. */
  logKey: string;
  /** All files of the folder together. Nothing collects them yet: at the quota grants fail, as on a full disk. */
  quotaBytes: number;
  /** Ed25519 private key of this process, for gaps. */
  gapKey: KeyObject;
  nowMs?: () => number;
}

export interface SpoolStats {
  readonly bytes: number;
  readonly quotaBytes: number;
  readonly nextSequence: number;
  readonly reserveInUse: boolean;
  /** Events of containing steps that found no space and whose gap is not written yet. */
  readonly lost: number;
}

interface Waiting {
  readonly encoded: Buffer;
  readonly ts: number;
  /** Absent for a containing step. */
  readonly settle?: (error: AuditError | undefined) => void;
}

const mostWaiting = 4096;
const batchBytes = 1 << 20;
/** Hardly an event is shorter; a new file that takes none would be waste. */
const smallestRecord = 256;

/**
 * An append-only, sealed, chained log of one writer. Whoever waits at the same time shares one fdatasync.
 */
export class Spool implements AsyncDisposable {
  readonly #o: SpoolOptions;
  readonly #recipient: Recipient;
  readonly #reserve: Reserve;
  readonly #segmentBytes: number;
  #segment: Segment | undefined;
  /** Bytes of all files. */
  #bytes: number;
  /** Behind everything, the reserve included. */
  #at: ChainState;
  /** Records in the reserve and the chain before them, when there are any. */
  #kept: { first: ChainState; records: Buffer[] } | undefined;
  #gap: { count: number; firstTs: number; lastTs: number } | undefined;
  #queue: Waiting[] = [];
  #running: Promise<void> | undefined;
  #closed = false;
  /** After a failed fsync nobody knows what is on the disk, and the next one would lie: only a new process goes on. */
  #failed: AuditError | undefined;

  constructor(options: SpoolOptions) {
    this.#o = options;
    this.#recipient = logRecipient(options.logKey);
    this.#segmentBytes = clamp(options.quotaBytes / 8, longestRecord * 2, 4 << 20);
    const recovered = recoverSegments(options.folder);
    this.#segment = recovered.segment;
    this.#at = recovered.at;
    this.#reserve = new Reserve(options.folder, clamp(options.quotaBytes / 16, 16 << 10, 256 << 10));
    this.#recoverReserve();
    this.#bytes = folderBytes(options.folder) + this.#reserve.bytes;
    this.contain({
      ts: this.#nowMs(),
      actor: "host",
      action: "spool.open",
      target: options.writer,
      outcome: "ok",
      detail: { gapKey: gapPublicKey(options.gapKey), cutBytes: recovered.cutBytes },
    });
  }

  get stats(): SpoolStats {
    return {
      bytes: this.#bytes,
      quotaBytes: this.#o.quotaBytes,
      nextSequence: this.#at.sequence,
      reserveInUse: this.#reserve.used,
      lost: this.#gap?.count ?? 0,
    };
  }

  /**
   * For a step that grants or widens: returns when the event is durable. When it throws, the step must not be taken
   * (the event may be on the disk all the same: the log says at least what was done).
   * @throws AuditError `no-space`, `io`, `busy`, `closed`, `invalid-event`
   */
  async grant(event: AuditEvent): Promise<void> {
    const encoded = encodeEvent(event);
    if (this.#closed) throw new AuditError("closed", "the audit spool is closed");
    if (this.#queue.length >= mostWaiting) throw new AuditError("busy", "too many audit events wait for the disk");
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#enqueue({ encoded, ts: event.ts, settle: (error) => (error === undefined ? resolve() : reject(error)) });
    await promise;
  }

  /** For a step that contains: never throws and never waits. Without space the event is counted in a gap. */
  contain(event: AuditEvent): void {
    let encoded: Buffer | undefined;
    try {
      encoded = encodeEvent(event);
    } catch {
      // An event that can't be written is a lost one; the step is taken all the same.
    }
    if (encoded === undefined || this.#closed || this.#queue.length >= mostWaiting) this.#lose(event.ts);
    else this.#enqueue({ encoded, ts: event.ts });
  }

  /** Waits until what was given so far is on the disk, in the reserve or counted. */
  async flush(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.flush();
    this.#segment?.[Symbol.dispose]();
    this.#reserve[Symbol.dispose]();
  }

  #nowMs(): number {
    return (this.#o.nowMs ?? Date.now)();
  }

  #enqueue(entry: Waiting): void {
    this.#queue.push(entry);
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    await undefined; // what arrives in the same turn joins the first batch
    while (this.#queue.length > 0) {
      const batch = this.#takeBatch();
      try {
        await this.#commit(batch);
      } catch (cause) {
        this.#failed ??= diskError(cause);
        for (const entry of batch) this.#giveUp(entry, this.#failed);
      }
    }
    this.#running = undefined;
  }

  #takeBatch(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const entry of this.#queue) {
      bytes += entry.encoded.length + 256;
      if (count > 0 && bytes > batchBytes) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  async #commit(batch: Waiting[]): Promise<void> {
    const error = this.#failed ?? (await this.#moveReserve()) ?? (await this.#append(batch));
    for (const entry of batch) this.#giveUp(entry, error);
    if (this.#reserve.used) this.#trySyncReserve();
  }

  /** What could not be appended: a granting step is refused, a containing one has the reserve. */
  #giveUp(entry: Waiting, error: AuditError | undefined): void {
    if (entry.settle === undefined) this.#useReserve(entry);
    else entry.settle(error);
  }

  /** Appends from the front of `batch` and takes off what is durable. @returns what stopped it, when not all was */
  async #append(batch: Waiting[]): Promise<AuditError | undefined> {
    while (batch.length > 0) {
      const opened = this.#openSegment(this.#at);
      if (opened instanceof AuditError) return opened;
      const { ends, bytes, states } = this.#encode(batch);
      if (ends.length === 0) return quotaFull();
      const { written, error } = opened.append(bytes);
      const whole = ends.filter((end) => end <= written).length;
      opened.keep(ends[whole - 1] ?? 0, written < bytes.length);
      this.#bytes += ends[whole - 1] ?? 0;
      this.#at = states[whole - 1] ?? this.#at;
      const done = batch.splice(0, whole);
      const failed = whole === 0 ? undefined : await this.#sync(opened);
      for (const entry of done) entry.settle?.(failed);
      if (failed !== undefined) return failed;
      if (error !== undefined) return diskError(error);
    }
    return undefined;
  }

  /** As many of the batch as the quota allows, one after the other. */
  #encode(batch: readonly Waiting[]): { bytes: Buffer; ends: number[]; states: ChainState[] } {
    const parts: Buffer[] = [];
    const ends: number[] = [];
    const states: ChainState[] = [];
    let at = this.#at;
    let end = 0;
    for (const entry of batch) {
      const { bytes, chain } = this.#sealed(entry, at);
      end += bytes.length;
      if (this.#bytes + end > this.#o.quotaBytes) break;
      at = { sequence: at.sequence + 1, chain };
      parts.push(bytes);
      ends.push(end);
      states.push(at);
    }
    return { bytes: Buffer.concat(parts), ends, states };
  }

  #sealed(entry: Waiting, at: ChainState): { bytes: Buffer; chain: Buffer } {
    const { tenant, writer } = this.#o;
    const payload = sealBytes(this.#recipient, { tenant, writer, sequence: at.sequence }, entry.encoded);
    return encodeRecord({ kind: "event", sequence: at.sequence, ts: entry.ts, payload }, at.chain);
  }

  /** The segment for the record after `at`: the open one, or a new one when it is full or there is none. */
  #openSegment(at: ChainState): Segment | AuditError {
    if (this.#segment !== undefined && this.#segment.size < this.#segmentBytes) return this.#segment;
    if (this.#bytes + segmentHeaderBytes + smallestRecord > this.#o.quotaBytes) return quotaFull();
    try {
      const created = Segment.create(this.#o.folder, at);
      this.#segment?.[Symbol.dispose]();
      this.#segment = created;
      this.#bytes += created.size;
      return created;
    } catch (cause) {
      return diskError(cause);
    }
  }

  async #sync(segment: Segment): Promise<AuditError | undefined> {
    try {
      await segment.sync();
    } catch (cause) {
      this.#failed = diskError(cause);
    }
    return this.#failed;
  }

  #useReserve(entry: Waiting): void {
    if (this.#gap !== undefined) {
      this.#lose(entry.ts); // order: nothing comes after a gap but its record
      return;
    }
    try {
      const { bytes, chain } = this.#sealed(entry, this.#at);
      if (!this.#reserve.append(this.#at, bytes)) {
        this.#lose(entry.ts);
        return;
      }
      this.#kept ??= { first: this.#at, records: [] };
      this.#kept.records.push(bytes);
      this.#at = { sequence: this.#at.sequence + 1, chain };
    } catch {
      this.#lose(entry.ts); // the disk fails even in place
    }
  }

  #trySyncReserve(): void {
    try {
      this.#reserve.sync();
    } catch {
      // It stays in the page cache; a containing step does not depend on it.
    }
  }

  #lose(ts: number): void {
    const gap = this.#gap;
    const lost = Number.isSafeInteger(ts) && ts >= 0 ? ts : this.#nowMs();
    this.#gap = { count: (gap?.count ?? 0) + 1, firstTs: gap?.firstTs ?? lost, lastTs: lost };
    if (this.#closed) return;
    try {
      this.#reserve.writeGap(this.#signedGap(this.#gap));
    } catch {
      // The count in memory stays.
    }
  }

  #signedGap(gap: { count: number; firstTs: number; lastTs: number }): Buffer {
    return signGap(this.#o.gapKey, { tenant: this.#o.tenant, writer: this.#o.writer }, gap);
  }

  /** Moves the reserve's records, then the gap, behind the others. @returns why that can't be done now */
  async #moveReserve(): Promise<AuditError | undefined> {
    const kept = this.#kept;
    const gap = this.#gap;
    if (kept === undefined && gap === undefined) return undefined;
    const first = kept?.first ?? this.#at;
    const parts = [...(kept?.records ?? [])];
    let at = this.#at;
    if (gap !== undefined) {
      const record = { kind: "gap", sequence: at.sequence, ts: gap.lastTs, payload: this.#signedGap(gap) } as const;
      const { bytes, chain } = encodeRecord(record, at.chain);
      parts.push(bytes);
      at = { sequence: at.sequence + 1, chain };
    }
    const bytes = Buffer.concat(parts);
    if (this.#bytes + bytes.length > this.#o.quotaBytes) return quotaFull();
    const segment = this.#openSegment(first);
    if (segment instanceof AuditError) return segment;
    const { written, error } = segment.append(bytes);
    const whole = written === bytes.length;
    segment.keep(whole ? written : 0, !whole);
    if (error !== undefined) return diskError(error);
    const failed = await this.#sync(segment);
    if (failed !== undefined) return failed;
    this.#bytes += bytes.length;
    this.#at = at;
    this.#forgetReserve(gap);
    return undefined;
  }

  #forgetReserve(written: { count: number } | undefined): void {
    this.#kept = undefined;
    if (this.#reserve.used) this.#reserve.clear();
    if (written === undefined) return;
    // Events lost while the gap was being written begin the next one.
    const more = (this.#gap?.count ?? 0) - written.count;
    this.#gap = more > 0 && this.#gap !== undefined ? { ...this.#gap, count: more } : undefined;
    this.#reserve.writeGap(this.#gap === undefined ? undefined : this.#signedGap(this.#gap));
  }

  #recoverReserve(): void {
    const slot = this.#reserve.readGap();
    if (slot !== undefined) this.#gap = this.#readableGap(slot);
    const kept = this.#reserve.kept();
    if (kept === undefined) return;
    const next = kept.before.findIndex(
      ({ sequence, chain }) => sequence === this.#at.sequence && chain.equals(this.#at.chain),
    );
    const first = kept.before[Math.max(next, 0)];
    // An earlier process moved all of it and died before it could say so.
    if (first === undefined || kept.after.sequence <= this.#at.sequence) {
      this.#reserve.clear();
      return;
    }
    // Records before the reserve's are gone when nothing there follows the chain: a new file then begins with its own
    // chain, and readers see the break.
    if (next < 0) this.#segment = undefined;
    this.#kept = { first, records: kept.records.slice(Math.max(next, 0)) };
    this.#at = kept.after;
  }

  #readableGap(slot: Buffer) {
    try {
      return openGap({ tenant: this.#o.tenant, writer: this.#o.writer }, slot);
    } catch {
      return undefined;
    }
  }
}

/** Opens or makes the spool in a folder. @throws when the folder can't be read or the reserve can't be allocated */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  return new Spool(options);
}

const folderBytes = (folder: string): number =>
  listSegments(folder).reduce((sum, { name }) => sum + statSync(join(folder, name)).size, 0);

const clamp = (value: number, least: number, most: number): number =>
  Math.floor(Math.min(Math.max(value, least), most));

const quotaFull = (): AuditError => new AuditError("no-space", "the audit spool has reached its quota");

function diskError(cause: unknown): AuditError {
  const code = errorCode(cause);
  if (code === "ENOSPC" || code === "EDQUOT")
    return new AuditError("no-space", "the disk of the audit spool is full", { cause });
  return new AuditError("io", "the disk of the audit spool failed", { cause });
}
