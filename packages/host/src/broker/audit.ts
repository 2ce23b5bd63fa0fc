import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import type { DoctorSummary, TenantAnchor } from "@exai/api/host";
import { type EventAction, type EventDetail, openSpool, type Spool } from "@exai/audit";
import type { Clock, HostId, WorkspaceId } from "@exai/base";

/** One tenant's audit log as the broker writes it. */
export class TenantAudit implements AsyncDisposable {
  readonly #spool: Spool;
  readonly #clock: Clock;

  constructor(spool: Spool, clock: Clock) {
    this.#spool = spool;
    this.#clock = clock;
  }

  /** For a step that grants or widens: durable before it returns, or the step is not taken. @throws AuditError */
  async grant(action: EventAction, workspace: WorkspaceId, detail: EventDetail, actor = "host"): Promise<void> {
    await this.#spool.grant(this.#event(action, workspace, detail, actor));
  }

  /** For a step that contains: never waits, never throws. */
  contain(action: EventAction, workspace: WorkspaceId, detail: EventDetail, actor = "host"): void {
    this.#spool.contain(this.#event(action, workspace, detail, actor));
  }

  /** What this host is for the tenant from now on; a reader of the log sees by it that a host was away. */
  host(action: "host.start" | "host.stop", host: HostId, detail: EventDetail = {}): void {
    this.#spool.contain({ ts: this.#clock.nowMs(), actor: "host", action, target: host, outcome: "ok", detail });
  }

  /** What was found of this host: ids of checks and nothing else, since files of the host say the rest. */
  checked(host: HostId, { at, mode, ok, checks }: DoctorSummary): void {
    const ids = (status: string) => checks.filter((each) => each.status === status).map(({ id }) => id);
    const detail = { at, mode, ok: ids("ok"), fail: ids("fail"), warn: ids("warn"), unknown: ids("unknown") };
    const outcome = ok ? "ok" : "failed";
    const action = "host.check";
    this.#spool.contain({ ts: this.#clock.nowMs(), actor: "host", action, target: host, outcome, detail });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spool[Symbol.asyncDispose]();
  }

  #event(action: EventAction, workspace: WorkspaceId, detail: EventDetail, actor: string) {
    return { ts: this.#clock.nowMs(), actor, action, target: workspace, workspace, outcome: "ok" as const, detail };
  }
}

export async function openTenantAudit(options: {
  spoolFolder: string;
  quotaBytes: number;
  anchor: TenantAnchor;
  clock: Clock;
}): Promise<TenantAudit> {
  const { anchor } = options;
  const spool = await openSpool({
    folder: join(options.spoolFolder, anchor.tenant, "broker"),
    tenant: anchor.tenant,
    writer: "broker",
    logKey: anchor.logKey,
    quotaBytes: options.quotaBytes,
    gapKey: generateKeyPairSync("ed25519").privateKey,
  });
  return new TenantAudit(spool, options.clock);
}
