import { channelContract, nodeContract, type VmStatus } from "@exai/api/host";
import type { WorkspaceId } from "@exai/base";
import { IpcError, serveIpc } from "@exai/ipc";

interface Vm {
  status: VmStatus;
  readonly waiters: Set<() => void>;
}

export interface NodeCall {
  readonly method: "prepare" | "launch" | "kill" | "remove";
  readonly workspace: WorkspaceId;
  readonly params: unknown;
}

function noSnapshots(): never {
  throw new IpcError("refused", "this double saves nothing", { remoteCode: "volume-failed" });
}

/**
 * One tenant's node agent and channel as the broker meets them: real sockets and contracts, VMs that are only noted.
 * Strict: a launch of what was not prepared, or that runs, is refused as the agent refuses it.
 */
export class HostDouble implements AsyncDisposable {
  readonly calls: NodeCall[] = [];
  readonly shutdowns: WorkspaceId[] = [];
  readonly #vms = new Map<WorkspaceId, Vm>();
  readonly #servers = new AsyncDisposableStack();

  static async start(paths: { nodeSocket: string; adminSocket: string }): Promise<HostDouble> {
    const host = new HostDouble();
    const node = { path: paths.nodeSocket, contract: nodeContract, handlers: host.#node() };
    const channel = { path: paths.adminSocket, contract: channelContract, handlers: host.#channel() };
    host.#servers.use(await serveIpc(node));
    host.#servers.use(await serveIpc(channel));
    return host;
  }

  state(workspace: WorkspaceId): VmStatus["state"] {
    return this.#vms.get(workspace)?.status.state ?? "absent";
  }

  /** What was asked for one workspace, in order. */
  steps(workspace: WorkspaceId): string[] {
    return this.calls.filter((call) => call.workspace === workspace).map((call) => call.method);
  }

  launched(workspace: WorkspaceId): unknown {
    return this.calls.findLast((call) => call.workspace === workspace && call.method === "launch")?.params;
  }

  #node() {
    const note = (method: NodeCall["method"], params: { workspace: WorkspaceId }) =>
      this.calls.push({ method, workspace: params.workspace, params });
    return {
      prepare: async (params: { workspace: WorkspaceId }) => {
        note("prepare", params);
        return this.#set(params.workspace, this.state(params.workspace) === "running" ? "running" : "prepared");
      },
      launch: async (params: { workspace: WorkspaceId }) => {
        note("launch", params);
        const state = this.state(params.workspace);
        if (state === "absent") throw new IpcError("refused", "not prepared", { remoteCode: "not-prepared" });
        if (state === "running") throw new IpcError("refused", "runs already", { remoteCode: "running" });
        return this.#set(params.workspace, "running");
      },
      kill: async (params: { workspace: WorkspaceId }) => {
        note("kill", params);
        return this.state(params.workspace) === "running"
          ? this.#set(params.workspace, "exited")
          : this.#status(params.workspace);
      },
      awaitExit: async ({ workspace, timeoutMs }: { workspace: WorkspaceId; timeoutMs: number }) => {
        const vm = this.#vms.get(workspace);
        if (vm?.status.state === "running" && timeoutMs > 0) {
          await new Promise<void>((resolve) => {
            vm.waiters.add(resolve);
            setTimeout(resolve, timeoutMs).unref();
          });
        }
        return this.#status(workspace);
      },
      remove: async (params: { workspace: WorkspaceId }) => {
        note("remove", params);
        this.#set(params.workspace, "absent");
        this.#vms.delete(params.workspace);
        return {};
      },
      // The broker asks for none of these yet.
      attachVolume: async () => noSnapshots(),
      sealSnapshot: async () => noSnapshots(),
      dropVolume: async () => noSnapshots(),
      floor: async () => ({ enforced: false as const, why: "a double" }),
      devices: async () => ({ reports: [], more: 0 }),
      list: async () => ({ vms: [...this.#vms.values()].map((vm) => vm.status) }),
    };
  }

  #channel() {
    return {
      awaitReady: async () => ({ kernelRelease: "6.1.0-double", agentVersion: "0", initUs: 1, readyUs: 2 }),
      shutdown: async ({ workspace }: { workspace: WorkspaceId }) => {
        this.shutdowns.push(workspace);
        this.#set(workspace, "exited");
        return {};
      },
      hello: async () => ({ url: "https://127.0.0.1:9", pid: process.pid }),
    };
  }

  #status(workspace: WorkspaceId): VmStatus {
    return this.#vms.get(workspace)?.status ?? { workspace, state: "absent", notEnforced: [] };
  }

  #set(workspace: WorkspaceId, state: VmStatus["state"]): VmStatus {
    const status: VmStatus = {
      workspace,
      state,
      notEnforced: [],
      ...(state === "exited" ? { exit: { code: 0 } } : {}),
    };
    const vm = this.#vms.get(workspace) ?? { status, waiters: new Set() };
    vm.status = status;
    this.#vms.set(workspace, vm);
    if (state !== "running") for (const wake of vm.waiters) wake();
    return status;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#servers.disposeAsync();
  }
}
