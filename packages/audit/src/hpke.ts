import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import { AuditError } from "./errors.ts";

/*
 * HPKE (RFC 9180), base mode, single shot: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The names are the
 * RFC's. Anyone can seal to a public key: this gives secrecy and binding to `info` and `aad`, not authorship.
 */

const kemId = 0x0020;
const kdfId = 0x0001;
const aeadId = 0x0002;
const Nsecret = 32;
const Nk = 32;
const Nn = 12;
const Nt = 16;
const Nenc = 32;
/** What sealing adds to a plaintext, bytes. */
export const sealOverheadBytes = Nenc + Nt;

const uint16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const kemSuite = Buffer.concat([Buffer.from("KEM"), uint16(kemId)]);
const hpkeSuite = Buffer.concat([Buffer.from("HPKE"), uint16(kemId), uint16(kdfId), uint16(aeadId)]);
const version = Buffer.from("HPKE-v1");
const empty = Buffer.alloc(0);

// RFC 9180 section 4: the inputs of LabeledExtract and LabeledExpand.
const labeledIkm = (suite: Buffer, label: string, ikm: Uint8Array): Buffer =>
  Buffer.concat([version, suite, Buffer.from(label), ikm]);
const labeledInfo = (suite: Buffer, label: string, info: Uint8Array, L: number): Buffer =>
  Buffer.concat([uint16(L), version, suite, Buffer.from(label), info]);

/** LabeledExtract alone, RFC 5869's first step. */
const labeledExtract = (suite: Buffer, label: string, ikm: Uint8Array): Buffer =>
  createHmac("sha256", empty)
    .update(labeledIkm(suite, label, ikm))
    .digest();

/**
 * LabeledExpand of what LabeledExtract gives, in OpenSSL's one call: two HMACs cost twice as much. What may be a key object is
 * one: Node asks of bytes whether they are by an exception that it catches, which costs more than the call.
 */
function labeledHkdf(
  suite: Buffer,
  extract: { salt: Uint8Array; label: string; ikm: Uint8Array },
  expand: { label: string; info: Uint8Array; L: number },
): Buffer {
  const { label, info, L } = expand;
  const ikm = labeledIkm(suite, extract.label, extract.ikm);
  return Buffer.from(hkdfSync("sha256", createSecretKey(ikm), extract.salt, labeledInfo(suite, label, info, L), L));
}

// Section 4.1: DHKEM.
const extractAndExpand = (dh: Buffer, kemContext: Buffer): Buffer =>
  labeledHkdf(
    kemSuite,
    { salt: empty, label: "eae_prk", ikm: dh },
    { label: "shared_secret", info: kemContext, L: Nsecret },
  );

const pskIdHash = labeledExtract(hpkeSuite, "psk_id_hash", empty);
/** Of the info that was used last: a log has but one. */
let lastInfo = { info: empty, hash: labeledExtract(hpkeSuite, "info_hash", empty) };

function infoHash(info: Uint8Array): Buffer {
  if (Buffer.compare(lastInfo.info, info) !== 0)
    lastInfo = { info: Buffer.from(info), hash: labeledExtract(hpkeSuite, "info_hash", info) };
  return lastInfo.hash;
}

// Section 5.1, mode_base = 0, no PSK.
function keySchedule(sharedSecret: Buffer, info: Uint8Array): { key: Buffer; nonce: Buffer } {
  const context = Buffer.concat([Buffer.from([0]), pskIdHash, infoHash(info)]);
  const secret = { salt: sharedSecret, label: "secret", ikm: empty };
  return {
    key: labeledHkdf(hpkeSuite, secret, { label: "key", info: context, L: Nk }),
    nonce: labeledHkdf(hpkeSuite, secret, { label: "base_nonce", info: context, L: Nn }),
  };
}

/** X25519 keys as RFC 8037 and RFC 8410 wrap their 32 bytes. */
export const publicKeyFromRaw = (raw: Uint8Array): KeyObject =>
  createPublicKey({
    key: { kty: "OKP", crv: "X25519", x: Buffer.from(raw).toString("base64url") },
    format: "jwk",
  });

export const rawPublicKey = (key: KeyObject): Buffer =>
  (key.type === "private" ? createPublicKey(key) : key).export({ format: "raw-public" });

const pkcs8Prefix = Buffer.from("302e020100300506032b656e04220420", "hex");
export const privateKeyFromRaw = (raw: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([pkcs8Prefix, raw]), format: "der", type: "pkcs8" });

interface Ephemeral {
  publicKey: KeyObject;
  privateKey: KeyObject;
}

/** The recipient's public key with its raw bytes, so that they are not exported for every message. */
export interface Recipient {
  readonly key: KeyObject;
  readonly raw: Buffer;
}

/** @returns `enc || ciphertext || tag`. `ephemeral` is for test vectors only: a key used twice breaks secrecy. */
export function sealBase(
  recipient: Recipient,
  info: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
  ephemeral: Ephemeral = generateKeyPairSync("x25519"),
): Buffer {
  const enc = rawPublicKey(ephemeral.publicKey);
  const dh = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: recipient.key });
  const { key, nonce } = keySchedule(extractAndExpand(dh, Buffer.concat([enc, recipient.raw])), info);
  const cipher = createCipheriv("aes-256-gcm", createSecretKey(key), nonce).setAAD(aad);
  const sealed = Buffer.concat([enc, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  key.fill(0);
  return sealed;
}

/** @throws AuditError `not-opened`: another key, another `info` or `aad`, or changed bytes; nobody can tell which */
export function openBase(recipient: KeyObject, info: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Buffer {
  try {
    if (sealed.length < Nenc + Nt) throw new RangeError("too short");
    const bytes = Buffer.from(sealed);
    const enc = bytes.subarray(0, Nenc);
    // OpenSSL refuses an all-zero result, as section 7.1.4 demands.
    const dh = diffieHellman({ privateKey: recipient, publicKey: publicKeyFromRaw(enc) });
    const { key, nonce } = keySchedule(extractAndExpand(dh, Buffer.concat([enc, rawPublicKey(recipient)])), info);
    const decipher = createDecipheriv("aes-256-gcm", createSecretKey(key), nonce, { authTagLength: Nt });
    decipher.setAAD(aad).setAuthTag(bytes.subarray(-Nt));
    return Buffer.concat([decipher.update(bytes.subarray(Nenc, -Nt)), decipher.final()]);
  } catch (cause) {
    throw new AuditError("not-opened", "a sealed record does not open with this key in this place", { cause });
  }
}
