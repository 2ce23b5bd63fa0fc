import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { canonicalBytes, type TenantId } from "@exai/base";
import { AuditError } from "./errors.ts";

/**
 * How many events of containing steps found no space. Not sealed: it says nothing but how many and when. Signed by the
 * process that counted them; the `spool.open` event before it, which is sealed, names that process's key.
 */
export interface Gap {
  readonly count: number;
  /** Milliseconds since the epoch, of the first and the last lost event. */
  readonly firstTs: number;
  readonly lastTs: number;
}

export interface SignedGap extends Gap {
  /** Ed25519 public key, 32 bytes in base64url. */
  readonly key: string;
  readonly signature: string;
}

interface GapPlace {
  readonly tenant: TenantId;
  readonly writer: string;
}

const toSign = (place: GapPlace, { count, firstTs, lastTs }: Gap): Buffer =>
  canonicalBytes({ type: "exai-audit-gap-v1", tenant: place.tenant, writer: place.writer, count, firstTs, lastTs });

/** @param key Ed25519 private key of the process */
export function signGap(key: KeyObject, place: GapPlace, gap: Gap): Buffer {
  const signature = sign(null, toSign(place, gap), key).toString("base64url");
  const { count, firstTs, lastTs } = gap;
  return canonicalBytes({ count, firstTs, lastTs, key: gapPublicKey(key), signature });
}

export const gapPublicKey = (key: KeyObject): string =>
  createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32).toString("base64url");

const members = "count,firstTs,key,lastTs,signature";

/** Parses a gap record and checks its signature by the key that it names. @throws AuditError `tampered` */
export function openGap(place: GapPlace, payload: Uint8Array): SignedGap {
  const gap = parseGap(payload);
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: gap.key }, format: "jwk" });
  if (!verify(null, toSign(place, gap), key, Buffer.from(gap.signature, "base64url"))) throw badGap();
  return gap;
}

function parseGap(payload: Uint8Array): SignedGap {
  try {
    const value = JSON.parse(Buffer.from(payload).toString("utf8")) as Record<string, unknown>;
    if (Object.keys(value).sort().join() !== members) throw badGap();
    const { count, firstTs, lastTs, key, signature } = value;
    if (typeof key !== "string" || !/^[\w-]{43}$/.test(key)) throw badGap();
    if (typeof signature !== "string" || !/^[\w-]{86}$/.test(signature)) throw badGap();
    if (count === 0) throw badGap();
    return { count: whole(count), firstTs: whole(firstTs), lastTs: whole(lastTs), key, signature };
  } catch (cause) {
    throw cause instanceof AuditError ? cause : badGap();
  }
}

function whole(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw badGap();
  return value;
}

const badGap = (): AuditError => new AuditError("tampered", "a gap record is not what its writer signed");
