import type { ColumnType, Generated } from "kysely";

/** Rows of the control plane's database: signed intents and public facts, no secret. Times are ms since the epoch. */
export interface Database {
  workspaces: WorkspaceTable;
  workspace_labels: { workspace: string; key: string; value: string };
  intents: IntentTable;
  hosts: { id: string; version: number };
  endpoints: { tenant: string; host: string; url: string };
  idempotency: IdempotencyTable;
}

export interface WorkspaceTable {
  id: string;
  tenant: string;
  host: string;
  name: string | null;
  /** JSON of the signed spec. */
  spec: ColumnType<string, string, never>;
  memory_mib: number;
  created_at: number;
  desired: "running" | "stopped" | "destroyed";
  /** 1: the operator wants it stopped, whatever the tenant's intents say. */
  halt: Generated<number>;
  creation_intent: string;
  last_serial: number;
  /** JSON of the host's last observation. */
  observed: string | null;
  observed_phase: string | null;
  revision: Generated<number>;
  /** Since when nothing of it is left on a host; its name is free again. */
  ended_at: number | null;
}

export interface IntentTable {
  workspace: string;
  serial: number;
  jti: string;
  jws: string;
}

export interface IdempotencyTable {
  principal: string;
  key: string;
  digest: string;
  status: number;
  body: string;
  created_at: number;
}
