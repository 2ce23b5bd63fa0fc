import { generateKeyPairSync, webcrypto } from "node:crypto";
import type { HostId, TenantId } from "@exai/base";
// x509 needs the polyfill and it has to come first.
import "reflect-metadata";
import * as x509 from "@peculiar/x509";

const algorithm = { name: "Ed25519" };
const day = 86_400_000;

const randomSerial = (): string => Buffer.from(webcrypto.getRandomValues(new Uint8Array(16))).toString("hex");

async function importKey(pkcs8: Buffer): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey("pkcs8", new Uint8Array(pkcs8), algorithm, true, ["sign"]);
}

async function importPublicKey(spki: Buffer): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey("spki", new Uint8Array(spki), algorithm, true, ["verify"]);
}

/** The host's own CA (RFC 5280): the certificate that clients pin. */
export async function makeHostCa(
  host: HostId,
  key: { privatePkcs8: Buffer; publicSpki: Buffer },
  nowMs: number,
): Promise<string> {
  x509.cryptoProvider.set(webcrypto);
  const publicKey = await importPublicKey(key.publicSpki);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: randomSerial(),
    name: `CN=exai host ${host}`,
    notBefore: new Date(nowMs - day),
    notAfter: new Date(nowMs + 3650 * day),
    signingAlgorithm: algorithm,
    keys: { privateKey: await importKey(key.privatePkcs8), publicKey },
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  return certificate.toString("pem");
}

/** The name in a channel's certificate: one tenant on one host. */
export const channelName = (tenant: TenantId, host: HostId): string => `${tenant}.${host}.exai.internal`;

/** A certificate for one start of one channel process, with its key. Neither is stored. */
export async function issueChannelCertificate(
  ca: { certificate: string; privatePkcs8: Buffer },
  name: string,
  nowMs: number,
): Promise<{ certificate: string; privateKey: string }> {
  x509.cryptoProvider.set(webcrypto);
  // The pinned CA is Ed25519; so is the leaf: TLS 1.3 clients of ours are OpenSSL and know it (RFC 8446, 4.2.3).
  const keys = generateKeyPairSync("ed25519");
  const spki = keys.publicKey.export({ format: "der", type: "spki" });
  const issuer = new x509.X509Certificate(ca.certificate);
  const leaf = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject: "CN=exai channel",
    issuer: issuer.subject,
    notBefore: new Date(nowMs - day),
    notAfter: new Date(nowMs + 397 * day),
    signingAlgorithm: algorithm,
    publicKey: await importPublicKey(spki),
    signingKey: await importKey(ca.privatePkcs8),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: "dns", value: name }]),
    ],
  });
  const privateKey = keys.privateKey.export({ format: "pem", type: "pkcs8" }).toString();
  return { certificate: leaf.toString("pem"), privateKey };
}
