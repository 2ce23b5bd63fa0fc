import { createHash } from "node:crypto";
import { eventLimits } from "./event.ts";
import { sealOverheadBytes } from "./hpke.ts";

/*
 * A spool is a chain of records over segment files. All numbers are big-endian.
 *
 *   segment = "EXAISPL1" | sequence of its first record (8) | chain before its first record (32) | record …
 *   record  = payload length (4) | kind (1) | sequence (8) | time (8) | payload | chain (32)
 *   chain   = SHA-256(chain before | the record up to here)
 *
 * A record that is cut, changed, moved or left out breaks the chain from there on.
 */

export const segmentMagic = Buffer.from("EXAISPL1");
export const segmentHeaderBytes = 48;
const headBytes = 21;
export const chainBytes = 32;
export const recordOverheadBytes = headBytes + chainBytes;
export const longestPayload = eventLimits.bytes + sealOverheadBytes;
export const longestRecord = longestPayload + recordOverheadBytes;
export const firstChain: Buffer = Buffer.alloc(chainBytes);

/** `event`: a sealed event. `gap`: events of containing steps that found no space; see gap.ts. */
export type RecordKind = "event" | "gap";
const kinds = ["event", "gap"] as const;

export interface SpoolRecord {
  readonly kind: RecordKind;
  readonly sequence: number;
  /** Milliseconds since the epoch; in clear, so that spools can be merged by who can't open them. */
  readonly ts: number;
  readonly payload: Buffer;
}

export interface ChainState {
  /** Of the next record. */
  readonly sequence: number;
  readonly chain: Buffer;
}

export function encodeRecord(record: SpoolRecord, before: Buffer): { bytes: Buffer; chain: Buffer } {
  const bytes = Buffer.allocUnsafe(headBytes + record.payload.length + chainBytes);
  bytes.writeUInt32BE(record.payload.length, 0);
  bytes.writeUInt8(kinds.indexOf(record.kind) + 1, 4);
  bytes.writeBigUInt64BE(BigInt(record.sequence), 5);
  bytes.writeBigUInt64BE(BigInt(record.ts), 13);
  record.payload.copy(bytes, headBytes);
  const chain = chainAfter(before, bytes.subarray(0, -chainBytes));
  chain.copy(bytes, bytes.length - chainBytes);
  return { bytes, chain };
}

const chainAfter = (before: Buffer, body: Buffer): Buffer => createHash("sha256").update(before).update(body).digest();

export type Decoded =
  | { readonly found: "record"; readonly record: SpoolRecord; readonly next: ChainState; readonly bytes: number }
  /** Fewer bytes than the record needs: the end of what was written. */
  | { readonly found: "incomplete" }
  /** Not what follows `at`. */
  | { readonly found: "broken" };

/** Reads the record at `offset` of `bytes`, which must be the one that follows `at`. */
export function decodeRecord(bytes: Buffer, offset: number, at: ChainState): Decoded {
  if (bytes.length - offset < headBytes) return { found: "incomplete" };
  const payloadBytes = bytes.readUInt32BE(offset);
  const kind = kinds[bytes.readUInt8(offset + 4) - 1];
  const sequence = bytes.readBigUInt64BE(offset + 5);
  if (payloadBytes > longestPayload || kind === undefined || sequence !== BigInt(at.sequence))
    return { found: "broken" };
  const end = offset + headBytes + payloadBytes + chainBytes;
  if (end > bytes.length) return { found: "incomplete" };
  const body = bytes.subarray(offset, end - chainBytes);
  const chain = chainAfter(at.chain, body);
  if (!chain.equals(bytes.subarray(end - chainBytes, end))) return { found: "broken" };
  const ts = Number(bytes.readBigUInt64BE(offset + 13));
  const payload = Buffer.from(body.subarray(headBytes));
  const record: SpoolRecord = { kind, sequence: at.sequence, ts, payload };
  return { found: "record", record, next: { sequence: at.sequence + 1, chain }, bytes: end - offset };
}

export function encodeSegmentHeader(at: ChainState): Buffer {
  const header = Buffer.alloc(segmentHeaderBytes);
  segmentMagic.copy(header);
  header.writeBigUInt64BE(BigInt(at.sequence), 8);
  at.chain.copy(header, 16);
  return header;
}

/** undefined when it is no whole segment header. */
export function decodeSegmentHeader(bytes: Buffer): ChainState | undefined {
  if (bytes.length < segmentHeaderBytes || !bytes.subarray(0, 8).equals(segmentMagic)) return undefined;
  const sequence = Number(bytes.readBigUInt64BE(8));
  if (!Number.isSafeInteger(sequence)) return undefined;
  return { sequence, chain: Buffer.from(bytes.subarray(16, segmentHeaderBytes)) };
}

const namePattern = /^seg-(\d{16})\.spool$/;
export const segmentName = (sequence: number): string => `seg-${String(sequence).padStart(16, "0")}.spool`;
/** Sequence of the first record, from the file's name. */
export function segmentSequence(name: string): number | undefined {
  const digits = namePattern.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
