import type { DesiredWorkspace, Observation, PollRequest } from "@exai/api";
import { type HostId, parseTenantId, parseWorkspaceId, type TenantId } from "@exai/base";
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

/** All that this host should know of: every workspace that it has not reported as destroyed. */
export async function desiredOf(tx: Tx, host: HostId): Promise<DesiredWorkspace[]> {
  const rows = await tx
    .selectFrom("workspaces")
    .innerJoin("intents", "intents.workspace", "workspaces.id")
    .select(["workspaces.id", "workspaces.tenant", "workspaces.halt", "intents.jws"])
    .where("workspaces.host", "=", host)
    .where((eb) => eb.or([eb("observed_phase", "is", null), eb("observed_phase", "<>", "destroyed")]))
    .orderBy("workspaces.created_at")
    .orderBy("workspaces.id")
    .orderBy("intents.serial")
    .execute();
  const desired = new Map<string, DesiredWorkspace>();
  for (const row of rows) {
    const known = desired.get(row.id);
    if (known !== undefined) known.intents.push(row.jws);
    else {
      const tenant = parseTenantId(row.tenant);
      desired.set(row.id, { workspace: parseWorkspaceId(row.id), tenant, intents: [row.jws], halt: row.halt === 1 });
    }
  }
  return [...desired.values()];
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

/** Records what a host says of its own workspaces; what it says of others is dropped. Returns ids that changed. */
export async function observe(tx: Tx, host: HostId, said: readonly Observation[], nowMs: number): Promise<string[]> {
  const changed: string[] = [];
  for (const each of said) {
    const row = await tx
      .selectFrom("workspaces")
      .select(["observed", "observed_phase", "ended_at"])
      .where("id", "=", each.workspace)
      .where("host", "=", host)
      .executeTakeFirst();
    const observed = JSON.stringify(each);
    // Destroyed is the last word: a late report of something earlier changes nothing.
    if (row === undefined || row.observed === observed || row.observed_phase === "destroyed") continue;
    await tx
      .updateTable("workspaces")
      .set((eb) => ({
        observed,
        observed_phase: each.phase,
        revision: eb("revision", "+", 1),
        ...(each.phase === "destroyed" ? { desired: "destroyed" as const, ended_at: row.ended_at ?? nowMs } : {}),
      }))
      .where("id", "=", each.workspace)
      .execute();
    changed.push(each.workspace);
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
