import type { Observation } from "@exai/api";
import { Trickle, type WorkspaceId } from "@exai/base";
import { applyIntents, type IntentLedger, ttlDueMs } from "@exai/policy";
import { type Goal, WorkspaceActor } from "./actor.ts";
import type { HostedVm } from "./hosted-vm.ts";
import type { JournalEntry } from "./journal.ts";
import { foundAgain, type Lifecycle } from "./lifecycle.ts";

const retryMs = 2_000;

export interface HostedDependencies {
  save(entry: JournalEntry, contains: boolean): void;
  tell(observation: Observation, passing?: boolean): void;
  warn(message: string, error: unknown): void;
  nowMs(): number;
}

/** One workspace of this host: its journal entry, and the actor that drives its VM. */
export class HostedWorkspace {
  readonly #deps: HostedDependencies;
  readonly #vm: HostedVm;
  readonly #actor: WorkspaceActor;
  #entry: JournalEntry;
  readonly #flips = new Trickle({ burst: 20, everyMs: 60_000 });
  readonly #resumes = new Trickle({ burst: 20, everyMs: 60_000 });
  #later: NodeJS.Timeout | undefined;

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
        save: (state, contains) => this.#saveState(state, contains),
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

  /**
   * Takes a new ledger, or the control plane's wish to halt, and wakes the actor. What starts is durable first; what
   * contains is taken whether the disk takes it or not.
   * @throws when what starts could not be written: nothing of it was taken
   */
  update(change: Partial<Pick<JournalEntry, "ledger" | "halted">>): void {
    const { ledger = this.#entry.ledger, halted = this.#entry.halted } = change;
    const starts = ledger.state === "live" && ledger.desired === "running" && !halted;
    this.#save(change, !starts);
    if (change.ledger !== undefined) this.#vm.restartClock(performance.now());
    this.#deps.tell(this.observation, true); // the actor's next step says more
    this.#actor.wake();
  }

  /**
   * A control plane that forgets and remembers, or halts and goes on, again and again costs a boot or an event each time:
   * a few at once, then one in a while.
   */
  mayFlip(): boolean {
    return this.#flips.take(this.#deps.nowMs()) !== undefined;
  }

  mayResume(): boolean {
    return this.#resumes.take(this.#deps.nowMs()) !== undefined;
  }

  /** Changes what is said of it, and nothing that is done. */
  setQuarantine(quarantined: boolean): void {
    this.#save({ quarantined }, true);
    this.#deps.tell(this.observation);
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
    const { lifetime, kernel, timings, notEnforced = [] } = state.boot ?? {};
    const message = "message" in state ? state.message : undefined;
    return {
      workspace,
      phase: quarantined ? "quarantined" : state.phase,
      ...(message === undefined ? {} : { message }),
      ...(lifetime === undefined ? {} : { lifetime }),
      vmm: this.#vm.vmm,
      accelerator: this.#vm.accelerator,
      ...(kernel === undefined ? {} : { kernel }),
      serial: serialOf(ledger),
      ...(timings === undefined ? {} : { timings }),
      notEnforced,
    };
  }

  #goal(): { goal: Goal; serial: number } {
    const { ledger, halted } = this.#entry;
    const serial = serialOf(ledger);
    // With no intents this lets the TTL fall due.
    const now = applyIntents(ledger, [], this.#deps.nowMs()).ledger;
    if (now.state !== "live") return { goal: "destroyed", serial };
    // Not the tenant's word: it answers no intent, and the VM runs again when the wish is gone.
    if (halted || this.#draining) return { goal: "stopped", serial: 0 };
    return { goal: now.desired, serial };
  }

  #untilTtlMs(): number {
    const dueMs = ttlDueMs(this.#entry.ledger);
    return dueMs === undefined ? Number.MAX_SAFE_INTEGER : Math.max(0, dueMs - this.#deps.nowMs()) + 5;
  }

  #saveState(state: Lifecycle, contains: boolean): void {
    // A TTL that fell due becomes part of the ledger: nothing undoes it, not even a clock that is set back.
    const { ledger } =
      state.phase === "destroying" ? applyIntents(this.#entry.ledger, [], this.#deps.nowMs()) : this.#entry;
    const { state: before, ledger: known } = this.#entry;
    // A write to the disk costs more than most steps; the next one that is needed carries this state, too.
    if (known.state !== "live" ? state.phase === "destroying" : ledger === known && foundAgain(before, state))
      this.#entry = { ...this.#entry, state };
    else this.#save({ state, ledger }, contains);
  }

  #save(change: Partial<JournalEntry>, contains: boolean): void {
    const entry = { ...this.#entry, ...change };
    try {
      this.#deps.save(entry, contains);
    } catch (error) {
      if (!contains) throw error;
      this.#deps.warn("the journal can't be written: kept in memory, and tried again", error);
      this.#saveLater();
    }
    this.#entry = entry;
  }

  #saveLater(): void {
    clearTimeout(this.#later);
    this.#later = setTimeout(() => this.#save({}, true), retryMs);
    this.#later.unref();
  }
}

const serialOf = (ledger: IntentLedger): number => (ledger.state === "empty" ? 0 : ledger.lastSerial);

export type Hosted = ReadonlyMap<WorkspaceId, HostedWorkspace>;
