import { createHash, createPublicKey, type webcrypto } from "node:crypto";

interface PublicKey {
  readonly key: webcrypto.CryptoKey;
  readonly thumbprint: string;
}

const cached = new Map<string, PublicKey>();
const mostCached = 4096;

/** An Ed25519 public key from its 32 raw bytes in base64url, with its thumbprint (RFC 7638 over RFC 8037's members). */
export function publicKeyOf(raw: string): PublicKey {
  const known = cached.get(raw);
  if (known !== undefined) return known;
  const jwk = { crv: "Ed25519", kty: "OKP", x: raw };
  // Of the kind that the verifier would otherwise look for, and make, at every signature.
  const key = createPublicKey({ key: jwk, format: "jwk" }).toCryptoKey("Ed25519", true, ["verify"]);
  const made = { key, thumbprint: thumbprintOf(raw) };
  // Anchors come by enrolment and are few; the bound only keeps a bug from growing without end.
  if (cached.size >= mostCached) cached.clear();
  cached.set(raw, made);
  return made;
}

/** The `kid` of a raw Ed25519 public key: RFC 7638's members in their fixed order, SHA-256, base64url. */
export const thumbprintOf = (raw: string): string =>
  createHash("sha256").update(`{"crv":"Ed25519","kty":"OKP","x":"${raw}"}`).digest("base64url");
