import type { LaunchRequest, nodeContract, SnapshotRecord, SnapshotRef, VmStatus } from "@exai/api/host";
import { invariant, type LifetimeId, type WorkspaceId } from "@exai/base";
import type { IpcClient } from "@exai/ipc";
import { MachineError } from "./errors.ts";
import { type GuestSession, sayHello } from "./guest/index.ts";
import { hasVmm, type MachineEvent, type MachineExit, type MachineState, nextState } from "./lifecycle.ts";
import type { Monitor } from "./vmm/monitor.ts";
import { type LaunchPlan, loadArgv } from "./vmm/plan.ts";

/** The node agent's steps for one tenant, as this package uses them. */
export interface NodeCalls {
  prepare(request: { workspace: WorkspaceId; diskMib: number }): Promise<VmStatus>;
  launch(request: LaunchRequest): Promise<VmStatus>;
  kill(request: { workspace: WorkspaceId }): Promise<VmStatus>;
  awaitExit(request: { workspace: WorkspaceId; timeoutMs: number }): Promise<VmStatus>;
  attachVolume(request: { workspace: WorkspaceId; sizeMib: number }): Promise<SnapshotRef>;
  sealSnapshot(request: SnapshotRef): Promise<SnapshotRecord>;
  dropVolume(request: SnapshotRef): Promise<unknown>;
  remove(request: { workspace: WorkspaceId }): Promise<unknown>;
}

/** Hashing a memory takes as long as the host needs to read it. */
const sealMs = 300_000;

/** The same over the agent's socket. */
export function nodeCalls(client: IpcClient<typeof nodeContract>): NodeCalls {
  return {
    prepare: (request) => client.call("prepare", request),
    launch: (request) => client.call("launch", request),
    kill: (request) => client.call("kill", request),
    awaitExit: (request) => client.call("awaitExit", request, { timeoutMs: request.timeoutMs + 10_000 }),
    attachVolume: (request) => client.call("attachVolume", request),
    sealSnapshot: (request) => client.call("sealSnapshot", request, { timeoutMs: sealMs }),
    dropVolume: (request) => client.call("dropVolume", request),
    remove: (request) => client.call("remove", request),
  };
}

export interface MachineOptions {
  node: NodeCalls;
  workspace: WorkspaceId;
  lifetime: LifetimeId;
  diskMib: number;
  /** What a driver's planning function returned: nothing here depends on which. */
  plan: LaunchPlan;
  /** Connects to the VMM's monitor. */
  monitor(): Promise<Monitor>;
  /** Begin from this snapshot, which the same plan booted. */
  load?: SnapshotRef;
}

/** What a state takes beside the memory. */
const stateMib = 32;

/** One disposable microVM. Disposing destroys it with its disk. */
export class Machine implements AsyncDisposable {
  readonly #node: NodeCalls;
  readonly #workspace: WorkspaceId;
  #state: MachineState = { phase: "created" };
  /** What runs, once it was launched. */
  #launched: Pick<MachineOptions, "plan" | "monitor"> | undefined;

  constructor(node: NodeCalls, workspace: WorkspaceId) {
    this.#node = node;
    this.#workspace = workspace;
  }

  get state(): MachineState {
    return this.#state;
  }

  /** @throws MachineError `host` */
  async launch(options: MachineOptions): Promise<void> {
    const { workspace, lifetime, diskMib, plan, load } = options;
    this.#take({ kind: load === undefined ? "launch" : "load" });
    this.#launched = options;
    try {
      await this.#node.prepare({ workspace, diskMib });
      const from = load === undefined ? {} : { load: { ...load, argv: loadArgv(plan) } };
      await this.#node.launch({ workspace, lifetime, ...plan, ...from });
      if (load !== undefined) await this.#load();
    } catch (cause) {
      this.#take({ kind: "fail", reason: "the VMM could not be launched" });
      throw new MachineError("host", "the VMM could not be launched", { cause });
    }
  }

  /** The guest said hello. */
  ready(): void {
    this.#take({ kind: "ready" });
  }

  /** The programs in the guest are held in the state itself, so that this may be done before the hello. */
  async #load(): Promise<void> {
    using monitor = await this.#monitor();
    await monitor.load();
    await monitor.resume();
  }

  /**
   * Holds the guest's programs, then stops its processors. The session must be the only one, and last until then: a
   * hello of another one would end the hold.
   * @throws ConnectError the guest's reason not to stand still; MachineError `monitor`. The machine then runs on.
   */
  async pause(guest: GuestSession): Promise<void> {
    await guest.machine.hold({});
    this.#take({ kind: "pause" });
    using monitor = await this.#monitor();
    await monitor.pause();
    const lost = await Promise.race([guest.lost, Promise.resolve(undefined)]);
    if (lost === undefined) return this.#take({ kind: "paused" });
    this.#take({ kind: "resume" });
    await monitor.resume();
    this.ready();
    throw new MachineError("monitor", "the guest's channel was lost while the machine was paused", { cause: lost });
  }

  /**
   * Lets the processors go on, then the programs. Without a session the programs wait for the next one, and `ready` is
   * the caller's word: after a `save` that failed, Firecracker has reset the channel.
   * @throws MachineError `monitor`; of the guest as `sayHello`
   */
  async resume(guest?: GuestSession): Promise<void> {
    this.#take({ kind: "resume" });
    using monitor = await this.#monitor();
    await monitor.resume();
    if (guest === undefined) return;
    await sayHello(guest.machine, { hostname: this.#workspace });
    this.ready();
  }

  /**
   * A paused machine into a snapshot; its VMM is ended, its disk stays. When it fails, the machine is still paused, and its
   * channel may be lost.
   * @throws MachineError `monitor`, `host`
   */
  async save(): Promise<SnapshotRef> {
    invariant(this.#state.phase === "paused", "only a paused machine can be saved");
    const workspace = this.#workspace;
    const memoryMib = this.#launched?.plan.memoryMib ?? 0;
    const ref = await this.#node.attachVolume({ workspace, sizeMib: memoryMib + stateMib });
    try {
      using monitor = await this.#monitor();
      await monitor.save();
    } catch (error) {
      await this.#node.dropVolume(ref);
      throw error;
    }
    await this.kill();
    await this.#node.sealSnapshot(ref);
    return ref;
  }

  #monitor(): Promise<Monitor> {
    invariant(this.#launched !== undefined, "a machine has a monitor once it was launched");
    return this.#launched.monitor();
  }

  /** Waits for the end of the VMM; undefined when it still runs after the time. */
  async awaitExit(timeoutMs: number): Promise<MachineExit | undefined> {
    const status = await this.#node.awaitExit({ workspace: this.#workspace, timeoutMs });
    return status.state === "running" ? undefined : this.#exited(status);
  }

  /** Ends the VMM at once; the disk stays. */
  async kill(): Promise<MachineExit> {
    if (nextState(this.#state, { kind: "stop" }) !== undefined) this.#take({ kind: "stop" });
    return this.#exited(await this.#node.kill({ workspace: this.#workspace }));
  }

  /** Ends it and removes everything of it. May be repeated until it succeeds. */
  async destroy(): Promise<void> {
    if (this.#state.phase === "destroyed") return;
    if (this.#state.phase !== "destroying") this.#take({ kind: "destroy" });
    await this.#node.remove({ workspace: this.#workspace });
    this.#take({ kind: "removed" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }

  #exited(status: VmStatus): MachineExit {
    const exit = status.exit ?? {};
    if (hasVmm(this.#state)) this.#take({ kind: "exited", exit });
    return exit;
  }

  #take(event: MachineEvent): void {
    const next = nextState(this.#state, event);
    invariant(next !== undefined, `a ${this.#state.phase} machine can't take '${event.kind}'`);
    this.#state = next;
  }
}

/** @throws MachineError `host`; nothing is left then */
export async function startMachine(options: MachineOptions): Promise<Machine> {
  const machine = new Machine(options.node, options.workspace);
  try {
    await machine.launch(options);
    return machine;
  } catch (error) {
    await machine.destroy();
    throw error;
  }
}
