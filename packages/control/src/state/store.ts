import type { Endpoint, PollRequest, Workspace } from "@exai/api";
import { endpoint } from "@exai/api";
import type { HostId, TenantId, WorkspaceId } from "@exai/base";
import { sql } from "kysely";
import type { HostLoad } from "../schedule.ts";
import * as hosts from "./hosts.ts";
import { type Answer, type Call, once, pruneKeys } from "./idempotency.ts";
import { type ListQuery, listWorkspaces } from "./list.ts";
import type { OpenDatabase } from "./open.ts";
import { type Tx, toWorkspace } from "./record.ts";
import { appendIntent, insertWorkspace, ownWorkspace, setHalt, type VerifiedIntent } from "./workspaces.ts";

/** Without `endpoints` they stay as they are. */
export interface Report extends Pick<PollRequest, "observations"> {
  readonly endpoints?: PollRequest["endpoints"];
}

const keptMs = 7 * 24 * 3_600_000;

/** What the control plane remembers. Every change is one transaction, and transactions run one after the other. */
export class Store {
  readonly #open: OpenDatabase;

  constructor(open: OpenDatabase) {
    this.#open = open;
  }

  /** @throws ControlError `workspace-exists`, `name-taken`, `idempotency-key-reused` */
  create(call: Call, intent: VerifiedIntent, host: HostId): Promise<Answer> {
    return this.#write((tx) => once(tx, call, () => insertWorkspace(tx, intent, host, call.nowMs)));
  }

  /** @throws ControlError `not-found`, `older-serial`, `workspace-destroyed`, `idempotency-key-reused` */
  append(call: Call, intent: VerifiedIntent): Promise<Answer> {
    return this.#write((tx) => once(tx, call, () => appendIntent(tx, intent, call.nowMs)));
  }

  /** @throws ControlError `not-found` */
  halt(host: HostId, id: WorkspaceId, halt: boolean): Promise<Answer> {
    return this.#write((tx) => setHalt(tx, host, id, halt));
  }

  /** Undefined when its revision is not above `after`. @throws ControlError `not-found` */
  async get(tenant: TenantId, id: WorkspaceId, after = -1): Promise<Workspace | undefined> {
    const row = await ownWorkspace(this.#open.db, tenant, id);
    return row.revision > after ? toWorkspace(row) : undefined;
  }

  list(query: ListQuery): Promise<{ items: Workspace[]; nextCursor?: string }> {
    return listWorkspaces(this.#open.db, query);
  }

  async endpoints(tenant: TenantId): Promise<Endpoint[]> {
    return (await hosts.endpointsOf(this.#open.db, tenant)).map((each) => endpoint.parse(each));
  }

  loads(known: readonly HostId[]): Promise<HostLoad[]> {
    return hosts.loadsOf(this.#open.db, known);
  }

  version(host: HostId): Promise<number> {
    return hosts.versionOf(this.#open.db, host);
  }

  desired(host: HostId): Promise<hosts.Desired> {
    return hosts.desiredOf(this.#open.db, host);
  }

  /** Returns the workspaces whose record has changed. */
  report(host: HostId, said: Report, nowMs: number): Promise<string[]> {
    return this.#write(async (tx) => [
      ...(await hosts.observe(tx, host, said.observations, nowMs)),
      ...(said.endpoints === undefined ? [] : await hosts.replaceEndpoints(tx, host, said.endpoints)),
    ]);
  }

  startHosts(known: readonly HostId[], nowMs: number): Promise<void> {
    return this.#write((tx) => hosts.startHosts(tx, known, nowMs));
  }

  /** Forgets what ended 7 days ago and old idempotency keys. What a host still has is never forgotten. */
  prune(nowMs: number): Promise<void> {
    return this.#write(async (tx) => {
      await tx
        .deleteFrom("workspaces")
        .where("ended_at", "<=", nowMs - keptMs)
        .where("observed_phase", "in", ["destroyed", "refused"])
        .execute();
      await pruneKeys(tx, nowMs);
    });
  }

  /** Is the database there? @throws whatever its driver throws */
  async ping(): Promise<void> {
    await sql`select 1`.execute(this.#open.db);
  }

  #write<T>(change: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#open.db.transaction().execute(async (tx) => {
      // SQLite has one writer anyway; one lock gives PostgreSQL the same order, and no row locks to reason about.
      if (this.#open.dialect === "postgresql") await sql`select pg_advisory_xact_lock(3905128)`.execute(tx);
      return change(tx);
    });
  }
}
