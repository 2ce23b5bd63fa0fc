import { KeyObject, webcrypto } from "node:crypto";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";

export interface TestCertificates {
  readonly caCertificate: string;
  /** PEM of a leaf with this DNS name, and of its key. */
  issue(name: string): Promise<{ certificate: string; privateKey: string }>;
}

const algorithm = { name: "Ed25519" };

/** A CA as a host has it, made with an Ed25519 key. */
export async function testCertificates(): Promise<TestCertificates> {
  x509.cryptoProvider.set(webcrypto);
  const keys = await makeKeys();
  const validity = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=test host",
    keys,
    signingAlgorithm: algorithm,
    ...validity,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  return {
    caCertificate: ca.toString("pem"),
    async issue(name) {
      const leaf = await makeKeys();
      const certificate = await x509.X509CertificateGenerator.create({
        subject: "CN=channel",
        issuer: ca.subject,
        publicKey: leaf.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: algorithm,
        ...validity,
        extensions: [new x509.SubjectAlternativeNameExtension([{ type: "dns", value: name }])],
      });
      return {
        certificate: certificate.toString("pem"),
        privateKey: KeyObject.from(leaf.privateKey).export({ type: "pkcs8", format: "pem" }).toString(),
      };
    },
  };
}

async function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
}
