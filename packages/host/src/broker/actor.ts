import { AuditError } from "@exai/audit";
import { type Clock, describeError, errorCode, type WorkspaceId } from "@exai/base";
import { IpcError } from "@exai/ipc";
import { type Lifecycle, type LifecycleEvent, transition } from "./lifecycle.ts";
import type { Microvm } from "./microvm.ts";
import { Notifier } from "./notifier.ts";

export type Goal = "running" | "stopped" | "destroyed";

export interface ActorDependencies {
  workspace: WorkspaceId;
  clock: Clock;
  vm: Microvm;
  /** What the signed intents (and the control plane's wish to halt, and the TTL) ask for right now. */
  goal(): { goal: Goal; serial: number };
  /** Milliseconds until the goal changes by itself (TTL). */
  untilChangeMs(): number;
  /** @throws only for a state that must be durable before the step is taken: that of a boot */
  save(state: Lifecycle, contains: boolean): void;
  observe(): void;
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
  #state: Lifecycle;
  #stopped = false;
  #interrupt = new AbortController();
  readonly done: Promise<void>;

  constructor(deps: ActorDependencies, state: Lifecycle) {
    this.#deps = deps;
    this.#state = state;
    this.done = this.#drive();
  }

  get state(): Lifecycle {
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
    const { phase, answeredSerial } = this.#state;
    // A failed boot, or a guest that powered itself off.
    if ((phase === "failed" || phase === "stopped") && answeredSerial >= serial) return true;
    if (!(await this.#ensureBooted(serial))) return true;
    return this.#watch(serial);
  }

  /** @returns false when the boot failed for good */
  async #ensureBooted(serial: number): Promise<boolean> {
    const running = await this.#deps.vm.isRunning();
    if (running && this.#state.phase === "running") return true;
    try {
      if (!running) {
        this.#to({ type: "boot", serial });
        this.#to({ type: "launched", boot: await this.#deps.vm.launch() });
      }
      const { kernel, timings } = await this.#deps.vm.awaitReady(this.#changeSignal());
      this.#to({ type: "ready", serial, kernel, timings });
      return true;
    } catch (error) {
      if (this.#interrupt.signal.aborted || isTransient(error)) throw error;
      if (isUnwitnessed(error) && this.#waitsForWitness(error)) throw error;
      await this.#deps.vm.kill("boot failed");
      this.#to({ type: "fail", serial, message: sentence(error) });
      return false;
    }
  }

  /**
   * Who asks for a boot that can't be witnessed is told so, and may ask again. What was running is not given up: it
   * waits for the audit log, and says so.
   */
  #waitsForWitness(error: unknown): boolean {
    const state = this.#state;
    if (state.phase !== "booting" || !state.restart) return false;
    const message = sentence(error);
    if (state.message !== message) this.#to({ type: "wait", message });
    return true;
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
      this.#to({ type: "stopped", serial, message: "the guest powered itself off" });
      return true;
    }
    await this.#deps.vm.kill(exit.why);
    const now = this.#deps.clock.nowMs();
    while (this.#restarts[0] !== undefined && this.#restarts[0] < now - restartWindowMs) this.#restarts.shift();
    if (this.#restarts.length >= restartLimit) {
      this.#to({ type: "fail", serial, message: "the microVM died too often; see its console log" });
      return true;
    }
    this.#restarts.push(now);
    this.#to({ type: "die", message: "the microVM died and is booted again" });
    return false;
  }

  async #stop(serial: number): Promise<boolean> {
    if (this.#state.phase === "stopped") {
      if (this.#state.answeredSerial < serial) this.#to({ type: "stopped", serial });
      return true;
    }
    if (await this.#deps.vm.isRunning()) {
      this.#to({ type: "stop", serial });
      await this.#deps.vm.shutdown(graceMs);
    }
    await this.#deps.vm.kill("stopped");
    this.#to({ type: "stopped", serial });
    return true;
  }

  async #destroy(serial: number): Promise<void> {
    if (this.#state.phase === "destroyed") return; // a tombstone
    const from = this.#deps.clock.monotonicMs();
    this.#to({ type: "destroy", serial });
    await this.#deps.vm.remove();
    this.#to({ type: "destroyed", destroyMs: this.#deps.clock.monotonicMs() - from });
  }

  #to(event: LifecycleEvent): void {
    const next = transition(this.#state, event);
    this.#deps.save(next, event.type !== "boot");
    this.#state = next;
    this.#deps.observe();
  }
}

const transient = new Set(["closed", "connect", "timeout"]);

/** A process of ours did not answer, or the goal changed: try again, conclude nothing. */
function isTransient(error: unknown): boolean {
  if (error instanceof IpcError) return transient.has(error.code);
  return errorCode(error) === "interrupted";
}

/** No room in the audit log, or a disk that failed under it. */
const isUnwitnessed = (error: unknown): boolean => error instanceof AuditError;

const sentence = (error: unknown): string => describeError(error).slice(0, 500);
