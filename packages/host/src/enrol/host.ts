import { createPublicKey } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { type HostAnchor, hostAnchor } from "@exai/api/host";
import { newHostId } from "@exai/base";
import { writeFileDurably } from "../home/files.ts";
import type { Home } from "../home/home.ts";
import { uidOffsets } from "../home/paths.ts";
import { makeHostCa } from "./certificates.ts";
import { makeKeyFile, readPrivateKey } from "./keys.ts";

/** Makes the host's identity on first use; afterwards reads it. The private key stays in the broker's folder. */
export async function enrolHost(home: Home, nowMs: number): Promise<HostAnchor> {
  const { hostAnchor: anchorFile, hostKey } = home.paths;
  if (existsSync(anchorFile)) return readHostAnchor(anchorFile);
  const broker = home.uidBase + uidOffsets.broker;
  const key = makeKeyFile("ed25519", hostKey, { uid: broker, gid: broker });
  const host = newHostId();
  const privateKey = readPrivateKey(hostKey);
  const caCertificate = await makeHostCa(
    host,
    {
      privatePkcs8: privateKey.export({ format: "der", type: "pkcs8" }),
      publicSpki: createPublicKey(privateKey).export({ format: "der", type: "spki" }),
    },
    nowMs,
  );
  const anchor: HostAnchor = { host, key, caCertificate };
  writeFileDurably(anchorFile, `${JSON.stringify(anchor)}\n`);
  return anchor;
}

export const readHostAnchor = (file: string): HostAnchor => hostAnchor.parse(JSON.parse(readFileSync(file, "utf8")));
