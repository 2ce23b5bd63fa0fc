import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { type ImageSignatures, imagePayloadType, imageSignatures } from "@exai/api/host";
import { dssePae } from "@exai/base";
import { refuse } from "./manifest.ts";

/** @param raw 32 bytes, base64url. @throws MachineError `refused-image` */
export function releaseKey(raw: string): KeyObject {
  try {
    return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: raw }, format: "jwk" });
  } catch (cause) {
    throw refuse("a release key is not an Ed25519 public key in base64url", cause);
  }
}

/** @throws MachineError `refused-image` unless one of `releaseKeys` signed exactly these bytes */
export function verifySignature(manifest: Uint8Array, signatures: Uint8Array, releaseKeys: readonly string[]): void {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(signatures).toString("utf8"));
  } catch (cause) {
    throw refuse("the image's signature file is not JSON", cause);
  }
  const parsed = imageSignatures.safeParse(value);
  if (!parsed.success) throw refuse("the image's signature file is malformed", parsed.error);
  const signed = dssePae(imagePayloadType, manifest);
  // Every trusted key is tried: keyid is the signer's claim and decides nothing.
  for (const key of releaseKeys.map(releaseKey)) {
    for (const { sig } of parsed.data.signatures) {
      if (verify(null, signed, key, Buffer.from(sig, "base64url"))) return;
    }
  }
  throw refuse("no trusted release key has signed this image; enrol the key of who released it, or build it here");
}

/** @param key an Ed25519 private key */
export function signManifest(manifest: Uint8Array, key: KeyObject): ImageSignatures {
  const sig = sign(null, dssePae(imagePayloadType, manifest), key).toString("base64url");
  return { payloadType: imagePayloadType, signatures: [{ keyid: rawPublicKey(key), sig }] };
}

/** The raw public key of an Ed25519 key (either half), base64url. */
export function rawPublicKey(key: KeyObject): string {
  const jwk = (key.type === "private" ? createPublicKey(key) : key).export({ format: "jwk" });
  if (jwk.crv !== "Ed25519" || jwk.x === undefined) throw refuse("a release key must be Ed25519");
  return jwk.x;
}
