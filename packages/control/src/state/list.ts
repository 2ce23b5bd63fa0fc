import type { Workspace } from "@exai/api";
import type { TenantId } from "@exai/base";
import { ControlError } from "../errors.ts";
import { selectWorkspaces, type Tx, toWorkspace } from "./record.ts";

export interface ListQuery {
  readonly tenant: TenantId;
  readonly limit: number;
  readonly cursor: string | undefined;
  readonly name: string | undefined;
  /** All must match. */
  readonly labels: readonly (readonly [string, string])[];
  /** With those that are destroyed and still remembered. */
  readonly ended: boolean;
}

/** One page in order of creation, then id: what comes later never shifts what was listed. */
export async function listWorkspaces(tx: Tx, query: ListQuery): Promise<{ items: Workspace[]; nextCursor?: string }> {
  let select = selectWorkspaces(tx)
    .where("workspaces.tenant", "=", query.tenant)
    .orderBy("workspaces.created_at")
    .orderBy("workspaces.id")
    .limit(query.limit + 1);
  if (!query.ended) select = select.where("workspaces.ended_at", "is", null);
  if (query.name !== undefined) select = select.where("workspaces.name", "=", query.name);
  for (const [key, value] of query.labels) {
    select = select.where((eb) =>
      eb.exists(
        eb
          .selectFrom("workspace_labels")
          .select("workspace_labels.workspace")
          .whereRef("workspace_labels.workspace", "=", "workspaces.id")
          .where("workspace_labels.key", "=", key)
          .where("workspace_labels.value", "=", value),
      ),
    );
  }
  if (query.cursor !== undefined) {
    const { createdAt, id } = parseCursor(query.cursor);
    select = select.where((eb) =>
      eb.or([
        eb("workspaces.created_at", ">", createdAt),
        eb.and([eb("workspaces.created_at", "=", createdAt), eb("workspaces.id", ">", id)]),
      ]),
    );
  }
  const rows = await select.execute();
  const items = rows.slice(0, query.limit);
  const last = items.at(-1);
  const more = rows.length > query.limit && last !== undefined;
  return { items: items.map(toWorkspace), ...(more ? { nextCursor: makeCursor(last.created_at, last.id) } : {}) };
}

const makeCursor = (createdAt: number, id: string): string => Buffer.from(`${createdAt}.${id}`).toString("base64url");

function parseCursor(cursor: string): { createdAt: number; id: string } {
  const match = /^(\d{1,15})\.([a-z2-7]{20})$/.exec(Buffer.from(cursor, "base64url").toString("latin1"));
  const [, createdAt, id] = match ?? [];
  if (createdAt === undefined || id === undefined) {
    throw new ControlError("malformed-request", "the cursor is not one of ours; start again without a cursor");
  }
  return { createdAt: Number(createdAt), id };
}
