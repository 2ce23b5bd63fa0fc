import { newLifetimeId, newWorkspaceId, systemClock } from "@exai/base";
import { IpcError } from "@exai/ipc";
import { describe, expect, it } from "vitest";
import { type ActorState, type Goal, WorkspaceActor } from "./actor.ts";
import type { Microvm } from "./microvm.ts";

/** A microVM double that records the steps and fails on demand. */
class MicrovmDouble implements Microvm {
  readonly steps: string[] = [];
  running = false;
  failNext: { step: string; error: Error } | undefined;
  readyNever = false;
  readonly exits: { clean: boolean }[] = [];
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
    this.exits.push({ clean });
    this.#exitWaiter?.();
  }
  async shutdown() {
    this.#step("shutdown");
  }
  async kill() {
    this.#step("kill");
    this.running = false;
  }
  async remove() {
    this.#step("remove");
    this.running = false;
  }
}

function start(goal: { goal: Goal; serial: number }, phase: ActorState["phase"] = "created") {
  const vm = new MicrovmDouble();
  vm.running = phase === "running";
  const seen: string[] = [];
  const actor = new WorkspaceActor(
    {
      workspace: newWorkspaceId(),
      clock: systemClock,
      vm,
      goal: () => goal,
      untilChangeMs: () => 60_000,
      save: () => undefined,
      observe: (state) => seen.push(state.phase),
      warn: () => undefined,
    },
    { phase, answeredSerial: 0, notEnforced: [] },
  );
  const until = async (wanted: ActorState["phase"]) => {
    for (let n = 0; actor.state.phase !== wanted; n++) {
      if (n > 500) throw new Error(`still ${actor.state.phase}, wanted ${wanted}: ${vm.steps.join(" ")}`);
      await systemClock.sleep(5);
    }
  };
  return { vm, seen, actor, goal, until };
}

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
    expect(t.actor.state.message).toBe("kernel panic");
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
    const t = start({ goal: "running", serial: 1 }, "running");
    await systemClock.sleep(20);
    expect(t.vm.steps).toEqual([]);
    t.actor.abandon();
  });
});
