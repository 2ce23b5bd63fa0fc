import type { DesiredWorkspace, Observation, PollRequest } from "@exai/api";
import { type HostId, parseTenantId, parseWorkspaceId, type TenantId } from "@exai/base";
import { sql } from "kysely";
import type { HostLoad } from "../schedule.ts";
import type { Tx } from "./record.ts";

/** Wakes the host: its desired state has another version now. */
export async function bumpVersion(tx: Tx, host: string): Promise<void> {
  await tx
    .updateTable("hosts")
    .set((eb) => ({ version: eb("version", "+", 1) }))
    .where("id", "=", host)
    .execute();
}

/**
 * Gives each host a version that it has not seen: above the last one and not below the time, so that a database that
 * was restored from an older copy never answers "nothing new".
 */
export async function startHosts(tx: Tx, hosts: readonly HostId[], nowMs: number): Promise<void> {
  for (const id of hosts) {
    const version = Math.max((await versionOf(tx, id)) + 1, nowMs);
    await tx
      .insertInto("hosts")
      .values({ id, version })
      .onConflict((conflict) => conflict.column("id").doUpdateSet({ version }))
      .execute();
  }
}

export async function versionOf(tx: Tx, host: HostId): Promise<number> {
  const row = await tx.selectFrom("hosts").select("version").where("id", "=", host).executeTakeFirst();
  return row?.version ?? 0;
}

/** Of workspaces that their host has not reported as destroyed: in these words there is an index (migration 0002). */
const keptByHost = sql<boolean>`(observed_phase is null or observed_phase <> 'destroyed')`;

/** What one host should know of, and the version that this is. */
export interface Desired {
  readonly version: number;
  readonly desired: DesiredWorkspace[];
}

/** Every workspace that it has not reported as destroyed, and the version: one statement, so both are of one moment. */
export async function desiredOf(tx: Tx, host: HostId): Promise<Desired> {
  const rows = await tx
    .selectFrom("hosts")
    .leftJoin("workspaces", (join) => join.onRef("workspaces.host", "=", "hosts.id").on(keptByHost))
    .leftJoin("intents", "intents.workspace", "workspaces.id")
    .select(["hosts.version", "workspaces.id", "workspaces.tenant", "workspaces.halt", "intents.jws"])
    .where("hosts.id", "=", host)
    .orderBy("workspaces.created_at")
    .orderBy("workspaces.id")
    .orderBy("intents.serial")
    .execute();
  const desired = new Map<string, DesiredWorkspace>();
  for (const { id, tenant, halt, jws } of rows) {
    if (id === null || tenant === null || jws === null) continue; // a host without any
    const known = desired.get(id);
    if (known !== undefined) known.intents.push(jws);
    else
      desired.set(id, {
        workspace: parseWorkspaceId(id),
        tenant: parseTenantId(tenant),
        intents: [jws],
        halt: halt === 1,
      });
  }
  return { version: rows[0]?.version ?? 0, desired: [...desired.values()] };
}

export async function loadsOf(tx: Tx, hosts: readonly HostId[]): Promise<HostLoad[]> {
  const rows = await tx
    .selectFrom("workspaces")
    .select((eb) => ["host", eb.fn.countAll<number>().as("workspaces"), eb.fn.sum<number>("memory_mib").as("memory")])
    .where("ended_at", "is", null)
    .groupBy("host")
    .execute();
  const byHost = new Map(rows.map((row) => [row.host, row]));
  return hosts.map((host) => {
    const row = byHost.get(host);
    return { host, workspaces: Number(row?.workspaces ?? 0), memoryMib: Number(row?.memory ?? 0) };
  });
}

/**
 * Records what a host says of its own workspaces; what it says of others is dropped. Destroyed is the last word: a late
 * report of something earlier changes nothing. Returns ids that changed.
 */
export async function observe(tx: Tx, host: HostId, said: readonly Observation[], nowMs: number): Promise<string[]> {
  const changed: string[] = [];
  for (const each of said) {
    const observed = JSON.stringify(each);
    const row = await tx
      .updateTable("workspaces")
      .set((eb) => ({
        observed,
        observed_phase: each.phase,
        revision: eb("revision", "+", 1),
        ...(each.phase === "destroyed"
          ? { desired: "destroyed" as const, ended_at: eb.fn.coalesce("ended_at", eb.val(nowMs)) }
          : {}),
      }))
      .where("id", "=", each.workspace)
      .where("host", "=", host)
      .where((eb) => eb.or([eb("observed", "is", null), eb("observed", "<>", observed)]))
      .where(keptByHost)
      .returning("id")
      .executeTakeFirst();
    if (row !== undefined) changed.push(row.id);
  }
  return changed;
}

/** Replaces the host's endpoints; returns workspaces whose endpoint is another one now. */
export async function replaceEndpoints(tx: Tx, host: HostId, now: PollRequest["endpoints"]): Promise<string[]> {
  const before = await tx.selectFrom("endpoints").select(["tenant", "url"]).where("host", "=", host).execute();
  const old = new Map<string, string>(before.map(({ tenant, url }) => [tenant, url]));
  const next = new Map<string, string>(now.map(({ tenant, url }) => [tenant, url]));
  const touched = [...new Set([...old.keys(), ...next.keys()])].filter(
    (tenant) => old.get(tenant) !== next.get(tenant),
  );
  if (touched.length === 0) return [];
  await tx.deleteFrom("endpoints").where("host", "=", host).where("tenant", "in", touched).execute();
  const rows = touched.flatMap((tenant) => {
    const url = next.get(tenant);
    return url === undefined ? [] : [{ tenant, host, url }];
  });
  if (rows.length > 0) await tx.insertInto("endpoints").values(rows).execute();
  const moved = await tx
    .updateTable("workspaces")
    .set((eb) => ({ revision: eb("revision", "+", 1) }))
    .where("host", "=", host)
    .where("tenant", "in", touched)
    .where("ended_at", "is", null)
    .returning("id")
    .execute();
  return moved.map((row) => row.id);
}

export async function endpointsOf(tx: Tx, tenant: TenantId): Promise<{ host: string; url: string }[]> {
  return tx.selectFrom("endpoints").select(["host", "url"]).where("tenant", "=", tenant).orderBy("host").execute();
}
