import type { DesiredWorkspace, IntentClaims, Observation } from "@exai/api";
import { channelContract, type DeviceReports, type FloorState, nodeContract, worstReports } from "@exai/api/host";
import { type Clock, describeError, type Logger, type TenantId, Trickle, type WorkspaceId } from "@exai/base";
import { createIpcClient, type IpcClient } from "@exai/ipc";
import type { Accelerator, VerifiedImage } from "@exai/machine";
import { type Applied, applyIntents, emptyLedger, type IntentLedger, isForgettable, PolicyError } from "@exai/policy";
import { HostError } from "../errors.ts";
import type { TenantAudit } from "./audit.ts";
import type { Capacity } from "./capacity.ts";
import type { BrokerConfig } from "./config.ts";
import { HostedWorkspace } from "./hosted.ts";
import { HostedVm } from "./hosted-vm.ts";
import { IntentReader } from "./intent-reader.ts";
import type { Journal, JournalEntry } from "./journal.ts";
import { created } from "./lifecycle.ts";
import { Refusals } from "./refusals.ts";

export interface BrokerDependencies {
  config: BrokerConfig;
  journal: Journal;
  capacity: Capacity;
  clock: Clock;
  logger: Logger;
  accelerator: Accelerator;
  audits: ReadonlyMap<TenantId, TenantAudit>;
  loadImage(digest: string): Promise<VerifiedImage>;
  tell(observation: Observation, passing?: boolean): void;
}

interface Tenant {
  readonly anchor: BrokerConfig["tenants"][number]["anchor"];
  readonly node: IpcClient<typeof nodeContract>;
  readonly channel: IpcClient<typeof channelContract>;
  readonly audit: TenantAudit;
}

/** In one answer to the supervisor. */
const shownReports = 1000;

/** What this host holds, and how it takes what the control plane hands over. docs/internals/broker.md has the table. */
export class Broker {
  readonly #deps: BrokerDependencies;
  readonly #tenants = new Map<TenantId, Tenant>();
  readonly #hosted = new Map<WorkspaceId, HostedWorkspace>();
  readonly #refusals = new Refusals();
  readonly #witnessed = new Trickle({ burst: 60, everyMs: 60_000 });
  readonly #intents: IntentReader;

  constructor(deps: BrokerDependencies) {
    this.#deps = deps;
    this.#intents = new IntentReader(deps.clock);
    for (const { anchor, nodeSocket, adminSocket } of deps.config.tenants) {
      const audit = deps.audits.get(anchor.tenant);
      if (audit === undefined) throw new HostError("enrolment", `tenant ${anchor.name} has no audit log`);
      const node = createIpcClient(nodeSocket, nodeContract);
      this.#tenants.set(anchor.tenant, { anchor, node, channel: createIpcClient(adminSocket, channelContract), audit });
    }
  }

  /** Takes up what the journal says exists here, running VMs among it. */
  adopt(): void {
    for (const entry of this.#deps.journal.load()) if (this.#tenants.has(entry.tenant)) this.#host(entry);
    this.forget();
  }

  /** Drops tombstones whose creation can't be replayed any more. */
  forget(): void {
    for (const [workspace, { entry }] of this.#hosted) {
      if (entry.state.phase !== "destroyed" || !isForgettable(entry.ledger, this.#deps.clock.nowMs())) continue;
      this.#deps.journal.forget(workspace);
      this.#hosted.delete(workspace);
    }
  }

  get hosted(): ReadonlyMap<WorkspaceId, HostedWorkspace> {
    return this.#hosted;
  }

  get tenants(): ReadonlyMap<TenantId, Tenant> {
    return this.#tenants;
  }

  /** What the node agent says of it; undefined when it does not answer. Each tenant's socket leads to the one agent. */
  async floor(): Promise<FloorState | undefined> {
    const [tenant] = this.#tenants.values();
    return tenant?.node.call("floor", {}, { timeoutMs: 1_000 }).catch(() => undefined);
  }

  /** What VMMs say of their devices, where there is something to look at; nothing of a tenant whose call is not answered. */
  async devices(): Promise<DeviceReports> {
    const none: DeviceReports = { reports: [], more: 0 };
    const all = await Promise.all(
      [...this.#tenants.values()].map(({ node }) => node.call("devices", {}, { timeoutMs: 1_000 }).catch(() => none)),
    );
    const worst = worstReports(
      all.flatMap(({ reports }) => reports),
      shownReports,
    );
    return { ...worst, more: all.reduce((sum, { more }) => sum + more, worst.more) };
  }

  /** Takes the whole list of one poll. Nothing in it is trusted but what a tenant signed. */
  async apply(all: readonly DesiredWorkspace[]): Promise<void> {
    const listed = new Set<WorkspaceId>();
    for (const desired of all) {
      listed.add(desired.workspace);
      try {
        await this.#take(desired);
      } catch (error) {
        this.#refuse(desired, error);
      }
    }
    for (const [workspace, hosted] of this.#hosted) this.#setQuarantine(workspace, hosted, !listed.has(workspace));
  }

  async #take(desired: DesiredWorkspace): Promise<void> {
    const tenant = this.#tenants.get(desired.tenant);
    if (tenant === undefined) throw new HostError("enrolment", "the tenant is not enrolled on this host");
    const hosted = this.#hosted.get(desired.workspace);
    if (hosted !== undefined && hosted.entry.tenant !== desired.tenant) {
      throw new HostError("enrolment", "the workspace belongs to another tenant");
    }
    // To stop needs no signature, so it waits for none.
    if (hosted !== undefined && desired.halt && !hosted.entry.halted) hosted.update({ halted: true });
    const before = hosted?.entry.ledger ?? emptyLedger(desired.workspace, desired.tenant);
    const intents = await Promise.all(desired.intents.map((jws) => this.#intents.read(jws, tenant.anchor)));
    const applied = applyIntents(before, intents, this.#deps.clock.nowMs());
    if (hosted === undefined) return this.#admit(tenant, applied, desired);
    if (applied.taken.length > 0) {
      for (const intent of applied.taken) await this.#witness(tenant, intent, applied.ledger);
      // Meanwhile its TTL may have fallen due, which nothing undoes.
      const { ledger } = applyIntents(hosted.entry.ledger, intents, this.#deps.clock.nowMs());
      hosted.update({ ledger, halted: desired.halt });
    } else if (hosted.entry.halted && !desired.halt && hosted.mayResume()) hosted.update({ halted: false });
  }

  async #admit(tenant: Tenant, { ledger, taken, refused }: Applied, desired: DesiredWorkspace): Promise<void> {
    const [creation] = taken;
    if (ledger.state === "empty" || creation === undefined) {
      const code = refused[0]?.code ?? "not-created";
      throw new HostError("admission", `the workspace is not created here: its intent is refused (${code})`);
    }
    const { image, cpus, memoryMib } = ledger.spec;
    await tenant.audit.grant("workspace.create", ledger.workspace, { image, cpus, memoryMib }, creation.actor);
    for (const intent of taken.slice(1)) await this.#witness(tenant, intent, ledger);
    const entry: JournalEntry = {
      version: 1,
      workspace: ledger.workspace,
      tenant: tenant.anchor.tenant,
      ledger,
      halted: desired.halt,
      quarantined: false,
      state: created,
    };
    this.#deps.journal.save(entry);
    this.#host(entry);
  }

  /** To start again is a grant and waits for its event; to stop or destroy never waits, nor does what came before. */
  async #witness({ audit }: Tenant, { act, sub, actor }: IntentClaims, ledger: IntentLedger): Promise<void> {
    const starts = ledger.state === "live" && ledger.desired === "running";
    if (act === "start" && starts) await audit.grant("workspace.start", sub, {}, actor);
    else if (act === "start") audit.contain("workspace.start", sub, {}, actor);
    else if (act === "stop") audit.contain("workspace.stop", sub, {}, actor);
    else if (act === "destroy") audit.contain("workspace.destroy", sub, { why: "signed" }, actor);
  }

  #host(entry: JournalEntry): void {
    if (entry.ledger.state === "empty") throw new HostError("journal", "a journal entry without a creation");
    const { config, clock, logger, journal, tell, capacity, loadImage, accelerator } = this.#deps;
    const tenant = this.#tenants.get(entry.tenant);
    if (tenant === undefined) throw new HostError("enrolment", "the tenant is not enrolled on this host");
    const vm = new HostedVm({
      workspace: entry.workspace,
      spec: entry.ledger.spec,
      admittedMs: clock.monotonicMs(),
      clock,
      node: tenant.node,
      channel: tenant.channel,
      audit: tenant.audit,
      capacity,
      loadImage,
      vmm: config.vmm,
      accelerator,
      production: config.production,
    });
    const hosted = new HostedWorkspace(entry, vm, {
      clock,
      nowMs: () => clock.nowMs(),
      save: (changed, contains) => journal.save(changed, contains),
      tell,
      warn: (message, error) =>
        logger.log("warn", message, { workspace: entry.workspace, reason: describeError(error) }),
    });
    this.#hosted.set(entry.workspace, hosted);
    tell(hosted.observation);
  }

  /** A control plane can cause these for ever, and a tenant's audit log must not be full of them. */
  #witnessRefusal({ tenant, workspace }: DesiredWorkspace, why: string): void {
    const audit = this.#tenants.get(tenant)?.audit;
    const suppressed = audit === undefined ? undefined : this.#witnessed.take(this.#deps.clock.nowMs());
    if (suppressed === undefined) return;
    audit?.contain("workspace.refuse", workspace, { why, ...(suppressed > 0 ? { suppressed } : {}) });
  }

  #setQuarantine(workspace: WorkspaceId, hosted: HostedWorkspace, quarantined: boolean): void {
    if (hosted.entry.quarantined === quarantined || hosted.entry.state.phase === "destroyed") return;
    if (!hosted.mayFlip()) return; // looked at again with the next answer
    const audit = this.#tenants.get(hosted.entry.tenant)?.audit;
    audit?.contain("workspace.quarantine", workspace, { quarantined: String(quarantined) });
    hosted.setQuarantine(quarantined);
  }

  #refuse(desired: DesiredWorkspace, error: unknown): void {
    const message = describeError(error).slice(0, 500);
    if (!this.#refusals.take(desired.workspace, message, this.#deps.clock.nowMs())) return;
    const expected = error instanceof PolicyError || error instanceof HostError;
    this.#deps.logger.log(expected ? "warn" : "error", "an intent was refused", {
      workspace: desired.workspace,
      reason: message,
    });
    this.#witnessRefusal(desired, message);
    if (this.#hosted.has(desired.workspace)) return; // what it is stays what it is
    this.#deps.tell({ workspace: desired.workspace, phase: "refused", message, serial: 0, notEnforced: [] });
  }
}
