import type { IntentClaims } from "@exai/api";
import type { HostId, TenantId, WorkspaceId } from "@exai/base";
import { ControlError } from "../errors.ts";
import { bumpVersion } from "./hosts.ts";
import { type Answer, answer } from "./idempotency.ts";
import { selectWorkspaces, type Tx, toWorkspace, type WorkspaceRow } from "./record.ts";

export interface VerifiedIntent {
  readonly jws: string;
  readonly claims: IntentClaims;
}

/** As many as one poll may carry for a workspace. */
const mostIntents = 64;

export async function findWorkspace(tx: Tx, id: WorkspaceId): Promise<WorkspaceRow | undefined> {
  return selectWorkspaces(tx).where("workspaces.id", "=", id).executeTakeFirst();
}

/** @throws ControlError `not-found`, also for another tenant's: whether it exists is not the caller's to know */
export async function ownWorkspace(tx: Tx, tenant: TenantId, id: WorkspaceId): Promise<WorkspaceRow> {
  const row = await findWorkspace(tx, id);
  if (row?.tenant === tenant) return row;
  throw new ControlError("not-found", `there is no workspace ${id}; 'exai workspace ls' lists yours`);
}

/** @throws ControlError `workspace-exists`, `name-taken` */
export async function insertWorkspace(tx: Tx, intent: VerifiedIntent, host: HostId, nowMs: number): Promise<Answer> {
  const { claims, jws } = intent;
  if (claims.act !== "create") throw new ControlError("intent-refused", "a workspace begins with an intent to create");
  const known = await findWorkspace(tx, claims.sub);
  if (known?.tenant === claims.iss && known.creation_intent === jws) return answer(200, toWorkspace(known));
  if (known !== undefined) throw new ControlError("workspace-exists", "this workspace id is taken; make a new one");
  const { spec } = claims;
  if (spec.name !== undefined) await refuseTakenName(tx, claims.iss, spec.name);
  await tx
    .insertInto("workspaces")
    .values({
      id: claims.sub,
      tenant: claims.iss,
      host,
      name: spec.name ?? null,
      spec: JSON.stringify(spec),
      memory_mib: spec.memoryMib,
      created_at: nowMs,
      desired: "running",
      creation_intent: jws,
      last_serial: claims.serial,
      observed: null,
      observed_phase: null,
      ended_at: null,
    })
    .execute();
  const labels = Object.entries(spec.labels).map(([key, value]) => ({ workspace: claims.sub, key, value }));
  if (labels.length > 0) await tx.insertInto("workspace_labels").values(labels).execute();
  await keepIntent(tx, intent);
  await bumpVersion(tx, host);
  return answer(201, toWorkspace(await ownWorkspace(tx, claims.iss, claims.sub)), host);
}

/** @throws ControlError `not-found`, `older-serial`, `workspace-destroyed`, `intent-refused` */
export async function appendIntent(tx: Tx, intent: VerifiedIntent, nowMs: number): Promise<Answer> {
  const { claims } = intent;
  const row = await ownWorkspace(tx, claims.iss, claims.sub);
  const kept = await keptIntents(tx, claims.sub);
  if (kept.some(({ serial, jws }) => serial === claims.serial && jws === intent.jws))
    return answer(200, toWorkspace(row));
  if (claims.act === "create")
    throw new ControlError("intent-refused", "a workspace is created by POST /v1/workspaces");
  // A destroy may be signed anew: the host refuses one that expired on its way.
  if (row.ended_at !== null || (row.desired === "destroyed" && claims.act !== "destroy")) {
    throw new ControlError("workspace-destroyed", "the workspace is destroyed; create a new one");
  }
  if (claims.serial <= row.last_serial) {
    throw new ControlError("older-serial", `the intent's serial must be above ${row.last_serial}; sign a new one`);
  }
  await keepIntent(tx, intent);
  // Only the creation and the newest matter to a host: each later one says all of what is desired.
  await dropIntents(tx, claims.sub, kept.slice(1, Math.max(1, 2 + kept.length - mostIntents)));
  // What the host refused was never made, so nothing of it is left to destroy.
  const ends = claims.act === "destroy" && row.observed_phase === "refused";
  const change = {
    desired: desiredAfter[claims.act],
    last_serial: claims.serial,
    revision: row.revision + 1,
    ...(ends ? { ended_at: nowMs } : {}),
  };
  await tx.updateTable("workspaces").set(change).where("id", "=", claims.sub).execute();
  await bumpVersion(tx, row.host);
  return answer(200, toWorkspace({ ...row, ...change }), row.host);
}

const desiredAfter = { start: "running", stop: "stopped", destroy: "destroyed" } as const;

/** The operator's stop, or its end. @throws ControlError `not-found` when it is not on that host */
export async function setHalt(tx: Tx, host: HostId, id: WorkspaceId, halt: boolean): Promise<Answer> {
  const row = await findWorkspace(tx, id);
  if (row?.host !== host) throw new ControlError("not-found", `workspace ${id} is not on this host`);
  if ((row.halt === 1) === halt) return answer(200, toWorkspace(row));
  await tx
    .updateTable("workspaces")
    .set((eb) => ({ halt: halt ? 1 : 0, revision: eb("revision", "+", 1) }))
    .where("id", "=", id)
    .execute();
  await bumpVersion(tx, host);
  return answer(200, toWorkspace({ ...row, revision: row.revision + 1 }), host);
}

async function refuseTakenName(tx: Tx, tenant: TenantId, name: string): Promise<void> {
  const taken = await tx
    .selectFrom("workspaces")
    .select("id")
    .where("tenant", "=", tenant)
    .where("name", "=", name)
    .where("ended_at", "is", null)
    .executeTakeFirst();
  if (taken === undefined) return;
  throw new ControlError(
    "name-taken",
    `workspace ${taken.id} has the name '${name}'; take another, or destroy that one`,
  );
}

async function keepIntent(tx: Tx, { claims, jws }: VerifiedIntent): Promise<void> {
  await tx
    .insertInto("intents")
    .values({ workspace: claims.sub, serial: claims.serial, jti: claims.jti, jws })
    .execute();
}

interface KeptIntent {
  readonly serial: number;
  readonly jws: string;
}

/** Oldest first: the creation, then at most `mostIntents` less one. */
const keptIntents = (tx: Tx, workspace: WorkspaceId): Promise<KeptIntent[]> =>
  tx.selectFrom("intents").select(["serial", "jws"]).where("workspace", "=", workspace).orderBy("serial").execute();

async function dropIntents(tx: Tx, workspace: WorkspaceId, surplus: readonly KeptIntent[]): Promise<void> {
  if (surplus.length === 0) return;
  const serials = surplus.map(({ serial }) => serial);
  await tx.deleteFrom("intents").where("workspace", "=", workspace).where("serial", "in", serials).execute();
}
