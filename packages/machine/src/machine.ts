import type { LaunchRequest, nodeContract, VmStatus } from "@exai/api/host";
import { invariant, type LifetimeId, type WorkspaceId } from "@exai/base";
import type { IpcClient } from "@exai/ipc";
import { MachineError } from "./errors.ts";
import { hasVmm, type MachineEvent, type MachineExit, type MachineState, nextState } from "./lifecycle.ts";
import type { LaunchPlan } from "./vmm/plan.ts";

/** The node agent's steps for one tenant, as this package uses them. */
export interface NodeCalls {
  prepare(request: { workspace: WorkspaceId; diskMib: number }): Promise<VmStatus>;
  launch(request: LaunchRequest): Promise<VmStatus>;
  kill(request: { workspace: WorkspaceId }): Promise<VmStatus>;
  awaitExit(request: { workspace: WorkspaceId; timeoutMs: number }): Promise<VmStatus>;
  remove(request: { workspace: WorkspaceId }): Promise<unknown>;
}

/** The same over the agent's socket. */
export function nodeCalls(client: IpcClient<typeof nodeContract>): NodeCalls {
  return {
    prepare: (request) => client.call("prepare", request),
    launch: (request) => client.call("launch", request),
    kill: (request) => client.call("kill", request),
    awaitExit: (request) => client.call("awaitExit", request, { timeoutMs: request.timeoutMs + 10_000 }),
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
}

/** One disposable microVM. Disposing destroys it with its disk. */
export class Machine implements AsyncDisposable {
  readonly #node: NodeCalls;
  readonly #workspace: WorkspaceId;
  #state: MachineState = { phase: "created" };

  constructor(node: NodeCalls, workspace: WorkspaceId) {
    this.#node = node;
    this.#workspace = workspace;
  }

  get state(): MachineState {
    return this.#state;
  }

  /** @throws MachineError `host` */
  async launch(options: MachineOptions): Promise<void> {
    const { workspace, lifetime, diskMib, plan } = options;
    this.#take({ kind: "launch" });
    try {
      await this.#node.prepare({ workspace, diskMib });
      await this.#node.launch({ workspace, lifetime, ...plan });
    } catch (cause) {
      this.#take({ kind: "fail", reason: "the VMM could not be launched" });
      throw new MachineError("host", "the VMM could not be launched", { cause });
    }
  }

  /** The guest said hello. */
  ready(): void {
    this.#take({ kind: "ready" });
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
