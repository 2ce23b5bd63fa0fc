import { type Observation, observation, signedIntent, type Workspace, workspaceSpec } from "@exai/api";
import { parseHostId, parseTenantId, parseWorkspaceId } from "@exai/base";
import type { Kysely, Selectable } from "kysely";
import type { Database, WorkspaceTable } from "./schema.ts";

export type Tx = Kysely<Database>;

export interface WorkspaceRow extends Selectable<WorkspaceTable> {
  readonly url: string | null;
}

/** Records with the endpoint of their tenant's channel. */
export const selectWorkspaces = (tx: Tx) =>
  tx
    .selectFrom("workspaces")
    .leftJoin("endpoints", (join) =>
      join.onRef("endpoints.tenant", "=", "workspaces.tenant").onRef("endpoints.host", "=", "workspaces.host"),
    )
    .selectAll("workspaces")
    .select("endpoints.url");

export function toWorkspace(row: WorkspaceRow): Workspace {
  const { name, labels, image, cpus, memoryMib, diskMib, ttlSeconds } = workspaceSpec.parse(JSON.parse(row.spec));
  return {
    id: parseWorkspaceId(row.id),
    tenant: parseTenantId(row.tenant),
    ...(name === undefined ? {} : { name }),
    labels,
    image,
    cpus,
    memoryMib,
    diskMib,
    ttlSeconds,
    createdAt: new Date(row.created_at).toISOString(),
    desired: row.desired,
    intent: signedIntent.parse(row.creation_intent),
    ...(row.observed === null ? {} : { observed: parseObservation(row.observed) }),
    ...(row.url === null ? {} : { endpoint: { host: parseHostId(row.host), url: row.url } }),
    revision: row.revision,
  };
}

const parseObservation = (json: string): Observation => observation.parse(JSON.parse(json));
