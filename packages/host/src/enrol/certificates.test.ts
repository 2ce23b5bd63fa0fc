import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:tls";
import { newHostId, newTenantId } from "@exai/base";
import { describe, expect, it } from "vitest";
import { channelName, issueChannelCertificate, makeHostCa } from "./certificates.ts";

async function makeCa() {
  const host = newHostId();
  const { privateKey } = generateKeyPairSync("ed25519");
  const privatePkcs8 = privateKey.export({ format: "der", type: "pkcs8" });
  const publicSpki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  const certificate = await makeHostCa(host, { privatePkcs8, publicSpki }, Date.now());
  return { host, certificate, privatePkcs8 };
}

async function handshake(
  serve: { certificate: string; privateKey: string },
  ca: string,
  servername: string,
): Promise<string> {
  const server = createServer({ cert: serve.certificate, key: serve.privateKey, minVersion: "TLSv1.3" }, (s) =>
    s.end(),
  );
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  try {
    const socket = connect({ host: "127.0.0.1", port, ca, servername, minVersion: "TLSv1.3" });
    return await new Promise<string>((resolve) => {
      socket.once("secureConnect", () => resolve("ok"));
      socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    }).finally(() => socket.destroy());
  } finally {
    server.close();
  }
}

describe("channel certificates", () => {
  it("are taken by a client that pins the host's CA, for that tenant's name only", async () => {
    const ca = await makeCa();
    const name = channelName(newTenantId(), ca.host);
    const identity = await issueChannelCertificate(ca, name, Date.now());
    expect(await handshake(identity, ca.certificate, name)).toBe("ok");
    expect(await handshake(identity, ca.certificate, channelName(newTenantId(), ca.host))).toBe(
      "ERR_TLS_CERT_ALTNAME_INVALID",
    );
  });

  it("of another host are refused", async () => {
    const ca = await makeCa();
    const other = await makeCa();
    const name = channelName(newTenantId(), ca.host);
    const identity = await issueChannelCertificate(other, name, Date.now());
    expect(await handshake(identity, ca.certificate, name)).toMatch(/UNABLE_TO|SELF_SIGNED|SIGNATURE/);
  });
});
