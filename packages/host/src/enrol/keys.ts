import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { writeFileDurably } from "../home/files.ts";

/** Raw public key, base64url: 32 bytes of Ed25519 or X25519 (RFC 8037 `x`). */
export function rawPublicKey(key: KeyObject): string {
  const { x } = key.export({ format: "jwk" });
  if (x === undefined) throw new TypeError("not an OKP key");
  return x;
}

/** Makes a key pair, writes the private half (PKCS #8 PEM, 0600) and returns the raw public one. */
export function makeKeyFile(kind: "ed25519" | "x25519", path: string, owner?: { uid: number; gid: number }): string {
  const { privateKey, publicKey } = kind === "ed25519" ? generateKeyPairSync("ed25519") : generateKeyPairSync("x25519");
  writeFileDurably(path, privateKey.export({ format: "pem", type: "pkcs8" }).toString(), 0o600, owner);
  return rawPublicKey(publicKey);
}

export const readPrivateKey = (path: string): KeyObject => createPrivateKey(readFileSync(path));
