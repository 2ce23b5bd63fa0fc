import type { FloorState, LaunchRequest, nodeContract, VmStatus } from "@exai/api/host";
import { describeError, type TenantId, type WorkspaceId } from "@exai/base";
import type { Handlers } from "@exai/ipc";
import { awaitExit } from "./await-exit.ts";
import { type NodeAgentOptions, type VmContext, vmContext } from "./context.ts";
import { deviceReports } from "./device-report.ts";
import { NodeError } from "./errors.ts";
import { releaseFloor } from "./floor/vm-floor.ts";
import { orFullDisk } from "./full-disk.ts";
import { endVmm, kill } from "./kill.ts";
import { launch } from "./launch.ts";
import type { Placer } from "./placer.ts";
import { prepare } from "./prepare.ts";
import type { TenantRecord } from "./records.ts";
import { remove } from "./remove.ts";
import { VolumePromises } from "./snapshot/promises.ts";
import { gone, sealSnapshot } from "./snapshot/seal.ts";
import { attachVolume, dropVolume } from "./snapshot/volume.ts";
import { removeSockets } from "./sockets.ts";
import { inspect, statusOf } from "./state.ts";
import { Turns } from "./turns.ts";
import { Vms } from "./vms.ts";

/** The closed set of privileged actions. */
export class NodeAgent {
  readonly #options: NodeAgentOptions;
  readonly #vms: Vms;
  readonly #placer: Placer;
  readonly #promises = new VolumePromises(() => this.#everyVm());
  readonly #turns = new Turns();

  constructor(options: NodeAgentOptions) {
    this.#options = options;
    this.#vms = new Vms(options.config);
    this.#placer = options.placer(this.#vms);
  }

  /** VMs of an earlier agent go on; what an ended one left is tidied. */
  adopt(): void {
    for (const [workspace, error] of this.#vms.broken()) {
      this.#options.logger.log("error", "a workspace is left alone", { workspace, error: describeError(error) });
    }
    for (const [workspace, record] of this.#vms.all()) {
      try {
        const vm = this.#context(workspace, record);
        if (inspect(vm).kind === "running") continue;
        removeSockets(vm);
        void this.#turns.take(workspace, () => releaseFloor(vm));
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
        this.#turns.take(workspace, () =>
          orFullDisk(async () => {
            const vm = this.#context(workspace, this.#vms.claim(tenant, workspace, diskMib));
            await prepare(vm);
            return statusOf(vm);
          }),
        ),
      launch: async (request) =>
        this.#turns.takeAll(turnsOf(request, this.#source(tenant, request)), async () => {
          const vm = this.#must(tenant, request.workspace);
          await orFullDisk(() => launch(vm, request, this.#source(tenant, request)));
          return statusOf(vm);
        }),
      kill: async ({ workspace }) => {
        await this.#endNow(tenant, workspace);
        return this.#turns.take(workspace, () => this.#withVm(tenant, workspace, kill));
      },
      awaitExit: ({ workspace, timeoutMs }, signal) =>
        this.#withVm(tenant, workspace, async (vm) => {
          await awaitExit(vm, timeoutMs, signal);
          await this.#turns.take(workspace, () => tidy(vm));
        }),
      attachVolume: ({ workspace, sizeMib }) =>
        this.#turns.take(workspace, () => attachVolume(this.#must(tenant, workspace), sizeMib, this.#promises)),
      sealSnapshot: ({ workspace, lifetime }) =>
        this.#turns.take(workspace, () => sealSnapshot(this.#must(tenant, workspace), lifetime)),
      dropVolume: ({ workspace, lifetime }) =>
        this.#turns.take(workspace, async () => {
          const vm = this.#find(tenant, workspace);
          if (vm !== undefined) await dropVolume(vm, lifetime);
          return {};
        }),
      remove: async ({ workspace }) => {
        await this.#endNow(tenant, workspace);
        return this.#turns.take(workspace, async () => {
          const vm = this.#find(tenant, workspace);
          if (vm === undefined) return {};
          await remove(vm);
          await this.#vms.forget(workspace);
          return {};
        });
      },
      floor: async () => this.floor(),
      devices: () => deviceReports(this.#options.config, this.#vms.of(tenant)),
      list: async () => {
        // Who purges a stack by this list must not leave one behind whose owner is not known, with its uid given to others.
        for (const [, error] of this.#vms.broken()) throw error;
        return { vms: this.#vms.of(tenant).map((workspace) => this.#status(tenant, workspace)) };
      },
    };
  }

  /** To contain waits for no other step, such as one that a VMM holds up. What goes wrong, the step in its turn tells. */
  async #endNow(tenant: TenantId, workspace: WorkspaceId): Promise<void> {
    const vm = this.#find(tenant, workspace);
    if (vm !== undefined && this.#turns.isTaken(workspace)) await endVmm(vm).catch(() => undefined);
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
    const enrolled = new Set(this.#options.config.tenants.map(({ tenant }) => tenant));
    const known = this.#vms.all().filter(([, record]) => enrolled.has(record.tenant));
    return known.map(([workspace, record]) => this.#context(workspace, record));
  }

  #find(tenant: TenantId, workspace: WorkspaceId): VmContext | undefined {
    const record = this.#vms.find(tenant, workspace);
    return record === undefined ? undefined : this.#context(workspace, record);
  }

  #context(workspace: WorkspaceId, record: TenantRecord): VmContext {
    return vmContext(this.#options, this.#placer, workspace, record);
  }
}

/** A snapshot that was checked stays what it is until the launcher has opened it: nothing happens to its workspace meanwhile. */
const turnsOf = ({ workspace }: LaunchRequest, source: VmContext | undefined): WorkspaceId[] =>
  source === undefined ? [workspace] : [workspace, source.workspace];

/** What a VMM leaves that ended by itself. */
async function tidy(vm: VmContext): Promise<void> {
  if (inspect(vm).kind === "running") return;
  removeSockets(vm);
  await releaseFloor(vm);
}
