import { AuditError } from "@exai/audit";
import { newLifetimeId, newWorkspaceId, systemClock } from "@exai/base";
import { IpcError } from "@exai/ipc";
import { describe, expect, it } from "vitest";
import { type Goal, WorkspaceActor } from "./actor.ts";
import { created, type Lifecycle } from "./lifecycle.ts";
import type { Microvm } from "./microvm.ts";

/** A microVM double that records the steps and fails on demand. */
class MicrovmDouble implements Microvm {
  readonly steps: string[] = [];
  running = false;
  failNext: { step: string; error: Error } | undefined;
  readyNever = false;
  readonly exits: { clean: boolean; why: string }[] = [];
  #exitWaiter: (() => void) | undefined;

  #step(name: string): void {
    this.steps.push(name);
    if (this.failNext?.step !== name) return;
    const { error } = this.failNext;
    this.failNext = undefined;
    throw error;
  }
  async isRunning() {
    return this.running;
  }
  async launch() {
    this.#step("launch");
    this.running = true;
    return { lifetime: newLifetimeId(), notEnforced: [], timings: { admitMs: 1 } };
  }
  async awaitReady(signal: AbortSignal) {
    this.#step("ready");
    if (this.readyNever) {
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      throw new IpcError("timeout", "interrupted");
    }
    return { kernel: "6.1", timings: { bootMs: 1 } };
  }
  async awaitExit(signal: AbortSignal) {
    while (!signal.aborted) {
      const exit = this.exits.shift();
      if (exit !== undefined) {
        this.running = false;
        return exit;
      }
      await new Promise<void>((resolve) => {
        this.#exitWaiter = resolve;
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
    }
    return undefined;
  }
  exit(clean: boolean): void {
    this.exits.push({ clean, why: "the VMM died of signal 9" });
    this.#exitWaiter?.();
  }
  async shutdown() {
    this.#step("shutdown");
  }
  readonly reasons: string[] = [];
  async kill(why: string) {
    this.reasons.push(why);
    this.#step("kill");
    this.running = false;
  }
  async remove() {
    this.#step("remove");
    this.running = false;
  }
}

function start(goal: { goal: Goal; serial: number }, state: Lifecycle = created) {
  const vm = new MicrovmDouble();
  vm.running = state.phase === "running";
  const seen: string[] = [];
  const actor = new WorkspaceActor(
    {
      workspace: newWorkspaceId(),
      clock: systemClock,
      vm,
      goal: () => goal,
      untilChangeMs: () => 60_000,
      save: () => undefined,
      observe: () => seen.push(actor.state.phase),
      warn: () => undefined,
    },
    state,
  );
  const until = async (wanted: Lifecycle["phase"]) => {
    for (let n = 0; actor.state.phase !== wanted; n++) {
      if (n > 500) throw new Error(`still ${actor.state.phase}, wanted ${wanted}: ${vm.steps.join(" ")}`);
      await systemClock.sleep(5);
    }
  };
  return { vm, seen, actor, goal, until };
}

const running: Lifecycle = { phase: "running", answeredSerial: 1, boot: { kernel: "6.1", notEnforced: [] } };
const noSpace = () => new AuditError("no-space", "the audit log has no space left");

describe("WorkspaceActor", () => {
  it("boots, stops, starts and destroys", async () => {
    const t = start({ goal: "running", serial: 1 });
    await t.until("running");
    Object.assign(t.goal, { goal: "stopped", serial: 2 });
    t.actor.wake();
    await t.until("stopped");
    Object.assign(t.goal, { goal: "running", serial: 3 });
    t.actor.wake();
    await t.until("running");
    Object.assign(t.goal, { goal: "destroyed", serial: 4 });
    t.actor.wake();
    await t.actor.done;
    expect(t.actor.state.phase).toBe("destroyed");
    expect(t.vm.steps).toEqual(["launch", "ready", "shutdown", "kill", "launch", "ready", "remove"]);
  });

  it("repeats a step whose answer was lost, and concludes nothing from it", async () => {
    const t = start({ goal: "running", serial: 1 });
    t.vm.failNext = { step: "ready", error: new IpcError("closed", "the channel died") };
    await t.until("running");
    expect(t.vm.steps).toEqual(["launch", "ready", "ready"]);
    t.actor.abandon();
  });

  it("does not boot again what failed, until a new intent says so", async () => {
    const t = start({ goal: "running", serial: 1 });
    t.vm.failNext = { step: "ready", error: new Error("kernel panic") };
    await t.until("failed");
    expect(t.actor.state).toMatchObject({ message: "kernel panic" });
    t.actor.wake();
    await systemClock.sleep(30);
    expect(t.vm.steps).toEqual(["launch", "ready", "kill"]);
    Object.assign(t.goal, { serial: 2 });
    t.actor.wake();
    await t.until("running");
    t.actor.abandon();
  });

  it("boots again after the VMM was killed, and not after the guest powered off", async () => {
    const t = start({ goal: "running", serial: 1 });
    await t.until("running");
    t.vm.exit(false);
    await expect.poll(() => t.seen.join(" ")).toBe("booting booting running booting booting booting running");
    t.vm.exit(true);
    await t.until("stopped");
    // What the event of each end says.
    expect(t.vm.reasons).toEqual(["the VMM died of signal 9", "the guest powered off"]);
    expect(t.vm.steps.filter((each) => each === "launch")).toHaveLength(2);
    t.actor.abandon();
  });

  it("gives up on a VM that keeps dying", async () => {
    const t = start({ goal: "running", serial: 1 });
    for (let n = 0; n < 6; n++) {
      await t.until("running");
      t.vm.exit(false);
      await systemClock.sleep(10);
    }
    await t.until("failed");
    t.actor.abandon();
  });

  it("destroys at once what is still booting", async () => {
    const t = start({ goal: "running", serial: 1 });
    t.vm.readyNever = true;
    await t.until("booting");
    await systemClock.sleep(20);
    Object.assign(t.goal, { goal: "destroyed", serial: 2 });
    t.actor.wake();
    await t.actor.done;
    expect(t.vm.steps).toEqual(["launch", "ready", "remove"]);
  });

  it("adopts a VM that outlived its broker", async () => {
    const t = start({ goal: "running", serial: 1 }, running);
    await systemClock.sleep(20);
    expect(t.vm.steps).toEqual([]);
    t.actor.abandon();
  });

  it("tells who asks for a boot that the audit log has no room for, and boots when asked again", async () => {
    const t = start({ goal: "running", serial: 1 });
    t.vm.failNext = { step: "launch", error: noSpace() };
    await t.until("failed");
    expect(t.actor.state).toMatchObject({ message: "the audit log has no space left" });
    Object.assign(t.goal, { serial: 2 });
    t.actor.wake();
    await t.until("running");
    t.actor.abandon();
  });

  it("waits for room when a VM that ran has died, and says so", async () => {
    const t = start({ goal: "running", serial: 1 }, running);
    await systemClock.sleep(20);
    t.vm.failNext = { step: "launch", error: noSpace() };
    t.vm.exit(false);
    await expect
      .poll(() => t.actor.state)
      .toMatchObject({ phase: "booting", restart: true, message: "the audit log has no space left" });
    await t.until("running");
    expect(t.actor.state).not.toHaveProperty("message");
    t.actor.abandon();
  });
});
