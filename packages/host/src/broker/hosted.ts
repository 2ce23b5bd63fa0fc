import type { Observation } from "@exai/api";
import type { WorkspaceId } from "@exai/base";
import { goalOf } from "@exai/policy";
import { type ActorState, type Goal, WorkspaceActor } from "./actor.ts";
import type { HostedVm } from "./hosted-vm.ts";
import type { JournalEntry } from "./journal.ts";

export interface HostedDependencies {
  save(entry: JournalEntry): void;
  tell(observation: Observation): void;
  warn(message: string, error: unknown): void;
  nowMs(): number;
}

/** One workspace of this host: its journal entry, and the actor that drives its VM. */
export class HostedWorkspace {
  readonly #deps: HostedDependencies;
  readonly #vm: HostedVm;
  readonly #actor: WorkspaceActor;
  #entry: JournalEntry;

  constructor(
    entry: JournalEntry,
    vm: HostedVm,
    deps: HostedDependencies & { clock: ConstructorParameters<typeof WorkspaceActor>[0]["clock"] },
  ) {
    this.#deps = deps;
    this.#entry = entry;
    this.#vm = vm;
    this.#actor = new WorkspaceActor(
      {
        workspace: entry.workspace,
        clock: deps.clock,
        vm,
        goal: () => this.#goal(),
        untilChangeMs: () => this.#untilTtlMs(),
        save: (state) => this.#save({ state: withoutUndefined(state) }),
        observe: () => deps.tell(this.observation),
        warn: deps.warn,
      },
      entry.state,
    );
  }

  get entry(): JournalEntry {
    return this.#entry;
  }

  get done(): Promise<void> {
    return this.#actor.done;
  }

  /** Takes a new ledger, or the control plane's wish to halt, durably, and wakes the actor. */
  update(change: Partial<Pick<JournalEntry, "ledger" | "halted" | "quarantined">>): void {
    if (change.ledger !== undefined) this.#vm.restartClock(performance.now());
    this.#save(change);
    this.#deps.tell(this.observation);
    this.#actor.wake();
  }

  abandon(): void {
    this.#actor.abandon();
  }

  /** For a stack that goes down: stops the VM; the signed goal stays as it is. */
  #draining = false;
  drain(): void {
    this.#draining = true;
    this.#actor.wake();
  }

  get observation(): Observation {
    const { workspace, state, ledger, quarantined } = this.#entry;
    return {
      workspace,
      phase: quarantined ? "quarantined" : state.phase,
      ...(state.message === undefined ? {} : { message: state.message }),
      ...(state.lifetime === undefined ? {} : { lifetime: state.lifetime }),
      vmm: "qemu",
      accelerator: this.#vm.accelerator,
      ...(state.kernel === undefined ? {} : { kernel: state.kernel }),
      serial: ledger.lastSerial,
      ...(state.timings === undefined ? {} : { timings: state.timings }),
      notEnforced: state.notEnforced,
    };
  }

  #goal(): { goal: Goal; serial: number } {
    const { ledger, halted } = this.#entry;
    const signed = goalOf(ledger, Math.floor(this.#deps.nowMs() / 1000));
    if (signed === "destroyed") return { goal: "destroyed", serial: ledger.lastSerial };
    const stop = halted || this.#draining;
    return { goal: stop ? "stopped" : signed, serial: ledger.lastSerial };
  }

  #untilTtlMs(): number {
    const { spec, createdAt } = this.#entry.ledger;
    if (spec.ttlSeconds === 0) return Number.MAX_SAFE_INTEGER;
    return Math.max(0, (createdAt + spec.ttlSeconds) * 1000 - this.#deps.nowMs()) + 5;
  }

  #save(change: Partial<JournalEntry>): void {
    this.#entry = { ...this.#entry, ...change };
    this.#deps.save(this.#entry);
  }
}

/** Optional members that are `undefined` are left out, as the journal's schema has them. */
function withoutUndefined(state: ActorState): JournalEntry["state"] {
  const { message, lifetime, timings, kernel, ...rest } = state;
  return {
    ...rest,
    ...(message === undefined ? {} : { message }),
    ...(lifetime === undefined ? {} : { lifetime }),
    ...(timings === undefined ? {} : { timings }),
    ...(kernel === undefined ? {} : { kernel }),
  };
}

export type Hosted = ReadonlyMap<WorkspaceId, HostedWorkspace>;
