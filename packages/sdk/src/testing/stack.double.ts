import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newHostId, newTenantId, type TenantId } from "@exai/base";
import { channelName } from "../data/connection.ts";
import { testCertificates } from "./certificates.double.ts";
import { ChannelDouble } from "./channel.double.ts";
import { ControlDouble } from "./control.double.ts";

export interface StackDouble extends AsyncDisposable {
  readonly home: string;
  readonly profile: string;
  readonly tenant: TenantId;
  readonly publicKey: KeyObject;
  readonly control: ControlDouble;
  readonly channel: ChannelDouble;
  /** The digest that the name `base` has. */
  readonly image: string;
  /** A new channel process on another port, as after a crash. */
  restartChannel(): Promise<void>;
}

/** A home with a tenant's profile, and doubles of what it leads to. */
export async function startStack(): Promise<StackDouble> {
  const home = mkdtempSync(join(tmpdir(), "exai-double-"));
  const [tenant, host] = [newTenantId(), newHostId()];
  const certificates = await testCertificates();
  const leaf = await certificates.issue(channelName(tenant, host));
  const folder = join(home, "client", tenant);
  const keys = generateKeyPairSync("ed25519");
  const image = "ab".repeat(32);
  for (const each of [folder, join(home, "images"), join(home, "guest/home/user"), join(home, "guest/tmp")]) {
    mkdirSync(each, { recursive: true });
  }
  const pem = { type: "pkcs8", format: "pem" } as const;
  writeFileSync(join(folder, "signing.key"), keys.privateKey.export(pem), { mode: 0o600 });
  writeFileSync(join(folder, "log.key"), generateKeyPairSync("x25519").privateKey.export(pem), { mode: 0o600 });
  writeFileSync(join(home, "images/index.json"), JSON.stringify({ base: image }));
  const profile = join(folder, "profile.json");
  const content = {
    version: 1,
    tenant,
    control: `unix:${join(home, "control.sock")}`,
    hosts: [{ host, key: rawKey(keys.publicKey), caCertificate: certificates.caCertificate }],
    imageStore: join(home, "images"),
    signingKeyFile: "signing.key",
    logKeyFile: "log.key",
  };
  writeFileSync(profile, JSON.stringify(content), { mode: 0o600 });
  const tls = { cert: leaf.certificate, key: leaf.privateKey };
  const channel = new ChannelDouble({ root: join(home, "guest"), host, key: keys.publicKey, tls });
  const control = new ControlDouble(host, keys.publicKey);
  control.url = await channel.listen();
  control.onPhase = (id, phase) => channel.setRunning(id, phase === "running");
  await control.listen(join(home, "control.sock"));
  return {
    home,
    profile,
    tenant,
    publicKey: keys.publicKey,
    control,
    channel,
    image,
    async restartChannel() {
      await channel.stop();
      control.moveTo(await channel.listen());
    },
    async [Symbol.asyncDispose]() {
      await control[Symbol.asyncDispose]();
      await channel[Symbol.asyncDispose]();
      rmSync(home, { recursive: true, force: true });
    },
  };
}

const rawKey = (key: KeyObject): string => {
  const { x } = createPublicKey(key.export({ type: "spki", format: "pem" })).export({ format: "jwk" });
  return x ?? "";
};
