import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type ClientProfile, type HostAnchor, type TenantAnchor, tenantAnchor, tenantName } from "@exai/api/host";
import { newTenantId, type TenantId } from "@exai/base";
import { HostError } from "../errors.ts";
import { ensureFolder, writeFileDurably } from "../home/files.ts";
import type { Home } from "../home/home.ts";
import { runPaths, uidOffsets } from "../home/paths.ts";
import { makeKeyFile } from "./keys.ts";

export interface EnrolledTenant {
  readonly anchor: TenantAnchor;
  /** Uid and gid of its channel process. */
  readonly channelUid: number;
}

/** Every tenant whose anchor lies in the home, by name. */
export function enrolledTenants(home: Home): EnrolledTenant[] {
  const found: EnrolledTenant[] = [];
  for (const file of readdirSync(home.paths.tenantAnchors)) {
    if (!file.endsWith(".json")) continue;
    const anchor = readAnchor(join(home.paths.tenantAnchors, file));
    const index = Number(readFileSync(join(home.paths.tenantAnchors, `${anchor.tenant}.uid`), "utf8"));
    found.push({ anchor, channelUid: home.uidBase + uidOffsets.firstChannel + index });
  }
  return found.sort((a, b) => a.anchor.name.localeCompare(b.anchor.name));
}

function readAnchor(file: string): TenantAnchor {
  try {
    return tenantAnchor.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (cause) {
    throw new HostError("enrolment", `${file} is not a tenant's anchor; restore it or remove it`, { cause });
  }
}

/** Takes a tenant's public keys as anchors. @throws HostError `enrolment` when the name is taken */
export function enrolTenant(home: Home, anchor: TenantAnchor): EnrolledTenant {
  const known = enrolledTenants(home);
  const same = known.find((each) => each.anchor.name === anchor.name || each.anchor.tenant === anchor.tenant);
  if (same !== undefined) throw new HostError("enrolment", `a tenant named '${same.anchor.name}' is enrolled already`);
  const last = uidOffsets.firstVm - uidOffsets.firstChannel;
  const taken = new Set(known.map((each) => each.channelUid - home.uidBase - uidOffsets.firstChannel));
  const index = Array.from({ length: last }, (_, n) => n).find((n) => !taken.has(n));
  if (index === undefined) throw new HostError("enrolment", `a host takes at most ${last} tenants`);
  const file = join(home.paths.tenantAnchors, anchor.tenant);
  writeFileDurably(`${file}.uid`, String(index));
  writeFileDurably(`${file}.json`, `${JSON.stringify(anchor)}\n`);
  return { anchor, channelUid: home.uidBase + uidOffsets.firstChannel + index };
}

/**
 * A tenant of a one-machine stack: makes its keys in `client/<tenant>/`, where its own programs find them, and enrols
 * their public halves. On several machines the tenant makes the keys itself and hands over the anchor only.
 * @throws HostError `enrolment`
 */
export function createLocalTenant(home: Home, name: string, host: HostAnchor, imageStore: string): EnrolledTenant {
  const named = tenantName.safeParse(name);
  if (!named.success) throw new HostError("enrolment", named.error.issues[0]?.message ?? "a tenant needs a name");
  const tenant: TenantId = newTenantId();
  const folder = join(home.paths.clients, tenant);
  if (existsSync(folder)) throw new HostError("enrolment", `${folder} exists already`);
  ensureFolder(folder, 0o700);
  const anchor: TenantAnchor = {
    tenant,
    name,
    signingKey: makeKeyFile("ed25519", join(folder, "signing.key")),
    logKey: makeKeyFile("x25519", join(folder, "log.key")),
  };
  const profile: ClientProfile = {
    version: 1,
    tenant,
    control: `unix:${runPaths(home.stack).controlSocket}`,
    hosts: [host],
    imageStore,
    signingKeyFile: "signing.key",
    logKeyFile: "log.key",
  };
  const enrolled = enrolTenant(home, anchor);
  writeFileDurably(join(folder, "profile.json"), `${JSON.stringify(profile, null, 2)}\n`, 0o600);
  return enrolled;
}
