import type { KeyObject } from "node:crypto";
import type { TenantId } from "@exai/base";
import { AuditError } from "./errors.ts";
import { type AuditEvent, decodeEvent, encodeEvent } from "./event.ts";
import { openBase, publicKeyFromRaw, type Recipient, sealBase } from "./hpke.ts";

/** Where a sealed event stands; it opens nowhere else. */
export interface SealPlace {
  readonly tenant: TenantId;
  /** The process that wrote it: `broker`, `channel`. */
  readonly writer: string;
  readonly sequence: number;
}

/** @param logKey the tenant's X25519 public key, 32 bytes in base64url. @throws AuditError `invalid-event` */
export function logRecipient(logKey: string): Recipient {
  const raw = Buffer.from(logKey, "base64url");
  if (raw.length !== 32) throw new AuditError("invalid-event", "a log key must be 32 bytes in base64url");
  return { key: publicKeyFromRaw(raw), raw };
}

/** @returns HPKE's `enc || ciphertext || tag` over the event's canonical JSON. @throws AuditError `invalid-event` */
export const sealEvent = (recipient: Recipient, place: SealPlace, event: AuditEvent): Buffer =>
  sealBytes(recipient, place, encodeEvent(event));

/** For an event that was encoded, and so checked, before its place was known. */
export const sealBytes = (recipient: Recipient, place: SealPlace, encoded: Buffer): Buffer =>
  sealBase(recipient, sealInfo(place), sealAad(place), encoded);

/** @throws AuditError `not-opened`, `invalid-event` */
export const openEvent = (privateKey: KeyObject, place: SealPlace, sealed: Uint8Array): AuditEvent =>
  decodeEvent(openBase(privateKey, sealInfo(place), sealAad(place), sealed));

// Ids have one length and writers no space, so that two places never give the same bytes.
const sealInfo = (place: SealPlace): Buffer => Buffer.from(`exai-audit-v1 ${place.tenant} ${place.writer}`, "utf8");

function sealAad(place: SealPlace): Buffer {
  const aad = Buffer.alloc(8);
  aad.writeBigUInt64BE(BigInt(place.sequence));
  return aad;
}
