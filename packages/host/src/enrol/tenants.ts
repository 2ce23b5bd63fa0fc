import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
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
    const index = readIndex(join(home.paths.tenantAnchors, `${anchor.tenant}.uid`));
    const channelUid = home.uidBase + uidOffsets.firstChannel + index;
    const same = found.find((each) => each.channelUid === channelUid);
    if (same !== undefined) throw sharedUid(home, anchor, same.anchor);
    found.push({ anchor, channelUid });
  }
  return found.sort((a, b) => a.anchor.name.localeCompare(b.anchor.name));
}

const mostTenants = uidOffsets.firstVm - uidOffsets.firstChannel;

/** Two tenants must never get one uid, so nothing is guessed. */
function readIndex(file: string): number {
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const index = Number(text);
  if (/^\d{1,5}$/.test(text) && index < mostTenants) return index;
  throw new HostError("enrolment", `${file} holds no uid; restore it, or remove the tenant's anchor beside it`);
}

const sharedUid = (home: Home, a: TenantAnchor, b: TenantAnchor): HostError =>
  new HostError(
    "enrolment",
    `tenants ${a.tenant} and ${b.tenant} have one uid in ${home.paths.tenantAnchors}; remove the files of one and enrol it again`,
  );

function readAnchor(file: string): TenantAnchor {
  try {
    return tenantAnchor.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (cause) {
    throw new HostError("enrolment", `${file} is not a tenant's anchor; restore it or remove it`, { cause });
  }
}

/** Takes a tenant's public keys as anchors, under the enrolment's lock. @throws HostError `enrolment` when the name is taken */
export function enrolTenant(home: Home, anchor: TenantAnchor): EnrolledTenant {
  const known = enrolledTenants(home);
  requireNew(known, anchor);
  const taken = new Set(known.map((each) => each.channelUid - home.uidBase - uidOffsets.firstChannel));
  const index = Array.from({ length: mostTenants }, (_, n) => n).find((n) => !taken.has(n));
  if (index === undefined) throw new HostError("enrolment", `a host takes at most ${mostTenants} tenants`);
  const file = join(home.paths.tenantAnchors, anchor.tenant);
  writeFileDurably(`${file}.uid`, String(index));
  writeFileDurably(`${file}.json`, `${JSON.stringify(anchor)}\n`);
  return { anchor, channelUid: home.uidBase + uidOffsets.firstChannel + index };
}

function requireNew(known: readonly EnrolledTenant[], { name, tenant }: Pick<TenantAnchor, "name" | "tenant">): void {
  const same = known.find(({ anchor }) => anchor.name === name || anchor.tenant === tenant);
  if (same !== undefined) throw new HostError("enrolment", `a tenant named '${same.anchor.name}' is enrolled already`);
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
  requireNew(enrolledTenants(home), { name, tenant });
  ensureFolder(folder, 0o700);
  try {
    return enrolTenant(home, makeKeys(home, folder, { tenant, name }, { host, imageStore }));
  } catch (error) {
    rmSync(folder, { recursive: true }); // a profile without a tenant would be in the way of every command
    throw error;
  }
}

/** Keys and profile, complete before the tenant exists: who is enrolled can be used. @returns their public halves */
function makeKeys(
  home: Home,
  folder: string,
  { tenant, name }: Pick<TenantAnchor, "tenant" | "name">,
  { host, imageStore }: { host: HostAnchor; imageStore: string },
): TenantAnchor {
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
  writeFileDurably(join(folder, "profile.json"), `${JSON.stringify(profile, null, 2)}\n`, 0o600);
  return anchor;
}
