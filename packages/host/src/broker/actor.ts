import type { Observation, ObservedPhase } from "@exai/api";
import { type Clock, describeError, errorCode, type LifetimeId, type WorkspaceId } from "@exai/base";
import { IpcError } from "@exai/ipc";
import type { Microvm } from "./microvm.ts";
import { Notifier } from "./notifier.ts";

export type Goal = "running" | "stopped" | "destroyed";

/** What survives the broker: one per workspace, in the journal. */
export interface ActorState {
  phase: ObservedPhase;
  message?: string | undefined;
  lifetime?: LifetimeId | undefined;
  /** Serial of the intent that the phase answers to; a failed boot is not tried again under the same one. */
  answeredSerial: number;
  timings?: Observation["timings"] | undefined;
  kernel?: string | undefined;
  notEnforced: string[];
}

export interface ActorDependencies {
  workspace: WorkspaceId;
  clock: Clock;
  vm: Microvm;
  /** What the signed intents (and the control plane's wish to halt, and the TTL) ask for right now. */
  goal(): { goal: Goal; serial: number };
  /** Milliseconds until the goal changes by itself (TTL). */
  untilChangeMs(): number;
  /** Durable before it returns. */
  save(state: ActorState): void;
  observe(state: ActorState): void;
  warn(message: string, error: unknown): void;
}

const restartLimit = 5;
const restartWindowMs = 600_000;
const graceMs = 5_000;
/** Node's timers hold no more; a longer time is looked at again then. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * Drives one workspace towards its goal, one step at a time; every step may be repeated, so that a broker that was
 * killed in the middle of one goes on from there.
 */
export class WorkspaceActor {
  readonly #deps: ActorDependencies;
  readonly #notifier = new Notifier();
  readonly #restarts: number[] = [];
  #state: ActorState;
  #stopped = false;
  #interrupt = new AbortController();
  readonly done: Promise<void>;

  constructor(deps: ActorDependencies, state: ActorState) {
    this.#deps = deps;
    this.#state = state;
    this.done = this.#drive();
  }

  get state(): ActorState {
    return this.#state;
  }

  /** The goal may have changed. */
  wake(): void {
    this.#interrupt.abort();
    this.#notifier.notify();
  }

  /** Ends the loop and leaves the VM as it is. */
  abandon(): void {
    this.#stopped = true;
    this.wake();
  }

  async #drive(): Promise<void> {
    let backoffMs = 100;
    while (!this.#stopped) {
      this.#interrupt = new AbortController();
      const { goal, serial } = this.#deps.goal();
      try {
        if (goal === "destroyed") return await this.#destroy(serial);
        const settled = goal === "running" ? await this.#keepRunning(serial) : await this.#stop(serial);
        backoffMs = 100;
        if (settled) await this.#notifier.wait(this.#deps.untilChangeMs());
      } catch (error) {
        if (this.#stopped) return;
        // A process of ours that is being started again: the same step is taken again, nothing is concluded.
        if (!isTransient(error)) this.#deps.warn("a step failed", error);
        await this.#notifier.wait(backoffMs);
        backoffMs = Math.min(backoffMs * 2, 5_000);
      }
    }
  }

  /** @returns true when nothing is left to do until the goal changes */
  async #keepRunning(serial: number): Promise<boolean> {
    if (this.#state.phase === "failed" && this.#state.answeredSerial >= serial) return true;
    if (this.#state.phase === "refused") return true;
    if (this.#state.phase === "stopped" && this.#state.answeredSerial >= serial) return true; // the guest powered off
    if (!(await this.#ensureBooted(serial))) return true;
    return this.#watch(serial);
  }

  /** @returns false when the boot failed for good */
  async #ensureBooted(serial: number): Promise<boolean> {
    const running = await this.#deps.vm.isRunning();
    if (running && this.#state.phase === "running") return true;
    try {
      if (!running) await this.#boot(serial);
      const ready = await this.#deps.vm.awaitReady(this.#changeSignal());
      const timings = { ...this.#state.timings, ...ready.timings };
      this.#set({ phase: "running", message: undefined, kernel: ready.kernel, timings, answeredSerial: serial });
      return true;
    } catch (error) {
      if (isTransient(error) || this.#interrupt.signal.aborted) throw error;
      await this.#deps.vm.kill("boot failed");
      this.#set({ phase: "failed", message: describeError(error).slice(0, 500), answeredSerial: serial });
      return false;
    }
  }

  async #boot(serial: number): Promise<void> {
    this.#set({ phase: "booting", message: undefined, answeredSerial: serial, timings: undefined });
    const launched = await this.#deps.vm.launch();
    this.#set({ lifetime: launched.lifetime, notEnforced: launched.notEnforced, timings: launched.timings });
  }

  /** Fires when the goal may have changed, by a new word or by time: a TTL falls due while the VM runs, too. */
  #changeSignal(): AbortSignal {
    const byTimeMs = this.#deps.untilChangeMs();
    if (byTimeMs === Number.MAX_SAFE_INTEGER) return this.#interrupt.signal;
    return AbortSignal.any([this.#interrupt.signal, AbortSignal.timeout(Math.min(byTimeMs, longestTimerMs))]);
  }

  /** Waits until the goal changes or the VM ends. */
  async #watch(serial: number): Promise<boolean> {
    const exit = await this.#deps.vm.awaitExit(this.#changeSignal());
    if (exit === undefined) return false; // the goal may have changed
    if (exit.clean) {
      await this.#deps.vm.kill("the guest powered off");
      this.#set({ phase: "stopped", message: "the guest powered itself off", answeredSerial: serial });
      return true;
    }
    await this.#deps.vm.kill("the VMM died");
    const now = this.#deps.clock.nowMs();
    while (this.#restarts[0] !== undefined && this.#restarts[0] < now - restartWindowMs) this.#restarts.shift();
    if (this.#restarts.length >= restartLimit) {
      this.#set({
        phase: "failed",
        message: "the microVM died too often; see its console log",
        answeredSerial: serial,
      });
      return true;
    }
    this.#restarts.push(now);
    this.#set({ phase: "booting", message: "the microVM died and is booted again" });
    return false;
  }

  async #stop(serial: number): Promise<boolean> {
    if (this.#state.phase === "stopped" || this.#state.phase === "refused") {
      if (this.#state.answeredSerial < serial) this.#set({ answeredSerial: serial });
      return true;
    }
    if (await this.#deps.vm.isRunning()) {
      this.#set({ phase: "stopping", answeredSerial: serial });
      await this.#deps.vm.shutdown(graceMs);
    }
    await this.#deps.vm.kill("stopped");
    this.#set({ phase: "stopped", message: undefined, answeredSerial: serial });
    return true;
  }

  async #destroy(serial: number): Promise<void> {
    if (this.#state.phase === "destroyed") return; // a tombstone
    const from = this.#deps.clock.monotonicMs();
    this.#set({ phase: "destroying", answeredSerial: serial });
    await this.#deps.vm.remove();
    const destroyMs = this.#deps.clock.monotonicMs() - from;
    this.#set({ phase: "destroyed", message: undefined, timings: { ...this.#state.timings, destroyMs } });
  }

  #set(change: Partial<ActorState>): void {
    this.#state = { ...this.#state, ...change };
    this.#deps.save(this.#state);
    this.#deps.observe(this.#state);
  }
}

const transient = new Set(["closed", "connect", "timeout", "no-space"]);

/** A process of ours did not answer, or the audit log has no room: try again, conclude nothing. */
function isTransient(error: unknown): boolean {
  if (error instanceof IpcError) return transient.has(error.code);
  return errorCode(error) === "no-space" || errorCode(error) === "interrupted";
}
