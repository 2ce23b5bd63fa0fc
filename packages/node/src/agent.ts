import type { FloorState, LaunchRequest, nodeContract, VmStatus } from "@exai/api/host";
import { describeError, type TenantId, type WorkspaceId } from "@exai/base";
import type { Handlers } from "@exai/ipc";
import { awaitExit } from "./await-exit.ts";
import { type NodeAgentOptions, type VmContext, vmContext } from "./context.ts";
import { NodeError } from "./errors.ts";
import { releaseFloor } from "./floor/vm-floor.ts";
import { orFullDisk } from "./full-disk.ts";
import { kill } from "./kill.ts";
import { launch } from "./launch.ts";
import type { Placer } from "./placer.ts";
import { prepare } from "./prepare.ts";
import type { TenantRecord } from "./records.ts";
import { remove } from "./remove.ts";
import { gone, sealSnapshot } from "./snapshot/seal.ts";
import { attachVolume, dropVolume } from "./snapshot/volume.ts";
import { removeSockets } from "./sockets.ts";
import { inspect, statusOf } from "./state.ts";
import { Vms } from "./vms.ts";

/** The closed set of privileged actions. Steps of one workspace never overlap. */
export class NodeAgent {
  readonly #options: NodeAgentOptions;
  readonly #vms: Vms;
  readonly #placer: Placer;
  readonly #queues = new Map<WorkspaceId, Promise<unknown>>();

  constructor(options: NodeAgentOptions) {
    this.#options = options;
    this.#vms = new Vms(options.config);
    this.#placer = options.placer(this.#vms);
  }

  /** VMs of an earlier agent go on; what an ended one left is tidied. */
  adopt(): void {
    for (const [workspace, record] of this.#vms.all()) {
      try {
        const vm = this.#context(workspace, record);
        if (inspect(vm).kind === "running") continue;
        removeSockets(vm);
        void this.#inTurn(workspace, () => releaseFloor(vm));
      } catch (error) {
        this.#options.logger.log("warn", "a VM could not be looked at", { workspace, error: describeError(error) });
      }
    }
  }

  floor(): FloorState {
    return this.#placer.floor();
  }

  /** What one tenant's socket answers. The tenant comes from the socket, never from a request. */
  handlers(tenant: TenantId): Handlers<typeof nodeContract> {
    return {
      prepare: ({ workspace, diskMib }) =>
        this.#inTurn(workspace, () =>
          orFullDisk(async () => {
            const vm = this.#context(workspace, this.#vms.claim(tenant, workspace, diskMib));
            await prepare(vm);
            return statusOf(vm);
          }),
        ),
      launch: (request) =>
        this.#inTurn(request.workspace, async () => {
          const vm = this.#must(tenant, request.workspace);
          await orFullDisk(() => launch(vm, request, this.#source(tenant, request)));
          return statusOf(vm);
        }),
      kill: ({ workspace }) => this.#inTurn(workspace, () => this.#withVm(tenant, workspace, kill)),
      awaitExit: ({ workspace, timeoutMs }, signal) =>
        this.#withVm(tenant, workspace, async (vm) => {
          await awaitExit(vm, timeoutMs, signal);
          await this.#inTurn(workspace, () => tidy(vm));
        }),
      attachVolume: ({ workspace, sizeMib }) =>
        this.#inTurn(workspace, () => attachVolume(this.#must(tenant, workspace), sizeMib, this.#everyVm())),
      sealSnapshot: ({ workspace, lifetime }) =>
        this.#inTurn(workspace, () => sealSnapshot(this.#must(tenant, workspace), lifetime)),
      dropVolume: ({ workspace, lifetime }) =>
        this.#inTurn(workspace, async () => {
          const vm = this.#find(tenant, workspace);
          if (vm !== undefined) await dropVolume(vm, lifetime);
          return {};
        }),
      remove: ({ workspace }) =>
        this.#inTurn(workspace, async () => {
          const vm = this.#find(tenant, workspace);
          if (vm === undefined) return {};
          await remove(vm);
          await this.#vms.forget(workspace);
          return {};
        }),
      floor: async () => this.floor(),
      list: async () => ({ vms: this.#vms.of(tenant).map((workspace) => this.#status(tenant, workspace)) }),
    };
  }

  async #withVm(tenant: TenantId, workspace: WorkspaceId, work: (vm: VmContext) => Promise<void>): Promise<VmStatus> {
    const vm = this.#find(tenant, workspace);
    if (vm !== undefined) await work(vm);
    return this.#status(tenant, workspace);
  }

  #status(tenant: TenantId, workspace: WorkspaceId): VmStatus {
    const vm = this.#find(tenant, workspace);
    return vm === undefined ? { workspace, state: "absent", notEnforced: [] } : statusOf(vm);
  }

  #must(tenant: TenantId, workspace: WorkspaceId): VmContext {
    const vm = this.#find(tenant, workspace);
    if (vm === undefined) throw new NodeError("not-prepared", "the workspace is not prepared on this host");
    return vm;
  }

  /** Whose snapshot a launch begins from: another workspace of the same tenant, never another tenant's. */
  #source(tenant: TenantId, { load }: LaunchRequest): VmContext | undefined {
    if (load === undefined) return undefined;
    const source = this.#find(tenant, load.workspace);
    if (source === undefined) throw gone();
    return source;
  }

  #everyVm(): VmContext[] {
    return this.#vms.all().map(([workspace, record]) => this.#context(workspace, record));
  }

  #find(tenant: TenantId, workspace: WorkspaceId): VmContext | undefined {
    const record = this.#vms.find(tenant, workspace);
    return record === undefined ? undefined : this.#context(workspace, record);
  }

  #context(workspace: WorkspaceId, record: TenantRecord): VmContext {
    return vmContext(this.#options, this.#placer, workspace, record);
  }

  async #inTurn<T>(workspace: WorkspaceId, work: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(workspace) ?? Promise.resolve();
    const mine = before.then(work, work);
    const settled = mine.then(
      () => undefined,
      () => undefined,
    );
    this.#queues.set(workspace, settled);
    try {
      return await mine;
    } finally {
      if (this.#queues.get(workspace) === settled) this.#queues.delete(workspace);
    }
  }
}

/** What a VMM leaves that ended by itself. */
async function tidy(vm: VmContext): Promise<void> {
  if (inspect(vm).kind === "running") return;
  removeSockets(vm);
  await releaseFloor(vm);
}
