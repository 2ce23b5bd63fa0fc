import { createHash, createPublicKey, type KeyObject } from "node:crypto";

const cached = new Map<string, { key: KeyObject; thumbprint: string }>();
const mostCached = 4096;

/** An Ed25519 public key from its 32 raw bytes in base64url, with its thumbprint (RFC 7638 over RFC 8037's members). */
export function publicKeyOf(raw: string): { key: KeyObject; thumbprint: string } {
  const known = cached.get(raw);
  if (known !== undefined) return known;
  const jwk = { crv: "Ed25519", kty: "OKP", x: raw };
  const made = { key: createPublicKey({ key: jwk, format: "jwk" }), thumbprint: thumbprintOf(raw) };
  // Anchors come by enrolment and are few; the bound only keeps a bug from growing without end.
  if (cached.size >= mostCached) cached.clear();
  cached.set(raw, made);
  return made;
}

/** The `kid` of a raw Ed25519 public key: RFC 7638's members in their fixed order, SHA-256, base64url. */
export const thumbprintOf = (raw: string): string =>
  createHash("sha256").update(`{"crv":"Ed25519","kty":"OKP","x":"${raw}"}`).digest("base64url");
