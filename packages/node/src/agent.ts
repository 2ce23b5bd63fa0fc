import { setImmediate } from "node:timers/promises";
import {
  type DeviceReport,
  type DeviceReports,
  type FloorState,
  type LaunchRequest,
  type nodeContract,
  type VmStatus,
  worstReports,
} from "@exai/api/host";
import { describeError, type TenantId, type WorkspaceId } from "@exai/base";
import type { Handlers } from "@exai/ipc";
import { awaitExit } from "./await-exit.ts";
import { type NodeAgentOptions, type VmContext, vmContext } from "./context.ts";
import { readDeviceReport } from "./device-report.ts";
import { NodeError } from "./errors.ts";
import { releaseFloor } from "./floor/vm-floor.ts";
import { orFullDisk } from "./full-disk.ts";
import { endVmm, kill } from "./kill.ts";
import { launch } from "./launch.ts";
import { vmPaths } from "./paths.ts";
import type { Placer } from "./placer.ts";
import { prepare } from "./prepare.ts";
import { readLaunch, type TenantRecord } from "./records.ts";
import { remove } from "./remove.ts";
import { VolumePromises } from "./snapshot/promises.ts";
import { gone, sealSnapshot } from "./snapshot/seal.ts";
import { attachVolume, dropVolume } from "./snapshot/volume.ts";
import { removeSockets } from "./sockets.ts";
import { inspect, statusOf } from "./state.ts";
import { Vms } from "./vms.ts";

/** Of one tenant's VMs. */
const shownReports = 20;

/** The closed set of privileged actions. Steps of one workspace never overlap. */
export class NodeAgent {
  readonly #options: NodeAgentOptions;
  readonly #vms: Vms;
  readonly #placer: Placer;
  readonly #promises = new VolumePromises(() => this.#everyVm());
  readonly #queues = new Map<WorkspaceId, Promise<unknown>>();

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
      launch: async (request) =>
        this.#inTurns(turnsOf(request, this.#source(tenant, request)), async () => {
          const vm = this.#must(tenant, request.workspace);
          await orFullDisk(() => launch(vm, request, this.#source(tenant, request)));
          return statusOf(vm);
        }),
      kill: async ({ workspace }) => {
        await this.#endNow(tenant, workspace);
        return this.#inTurn(workspace, () => this.#withVm(tenant, workspace, kill));
      },
      awaitExit: ({ workspace, timeoutMs }, signal) =>
        this.#withVm(tenant, workspace, async (vm) => {
          await awaitExit(vm, timeoutMs, signal);
          await this.#inTurn(workspace, () => tidy(vm));
        }),
      attachVolume: ({ workspace, sizeMib }) =>
        this.#inTurn(workspace, () => attachVolume(this.#must(tenant, workspace), sizeMib, this.#promises)),
      sealSnapshot: ({ workspace, lifetime }) =>
        this.#inTurn(workspace, () => sealSnapshot(this.#must(tenant, workspace), lifetime)),
      dropVolume: ({ workspace, lifetime }) =>
        this.#inTurn(workspace, async () => {
          const vm = this.#find(tenant, workspace);
          if (vm !== undefined) await dropVolume(vm, lifetime);
          return {};
        }),
      remove: async ({ workspace }) => {
        await this.#endNow(tenant, workspace);
        return this.#inTurn(workspace, async () => {
          const vm = this.#find(tenant, workspace);
          if (vm === undefined) return {};
          await remove(vm);
          await this.#vms.forget(workspace);
          return {};
        });
      },
      floor: async () => this.floor(),
      devices: () => this.#devices(tenant),
      list: async () => ({ vms: this.#vms.of(tenant).map((workspace) => this.#status(tenant, workspace)) }),
    };
  }

  /** To contain waits for no other step, such as one that a VMM holds up. What goes wrong, the step in its turn tells. */
  async #endNow(tenant: TenantId, workspace: WorkspaceId): Promise<void> {
    const vm = this.#find(tenant, workspace);
    if (vm !== undefined && this.#queues.has(workspace)) await endVmm(vm).catch(() => undefined);
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

  async #devices(tenant: TenantId): Promise<DeviceReports> {
    const found: DeviceReport[] = [];
    for (const workspace of this.#vms.of(tenant)) {
      const paths = vmPaths(this.#options.config, workspace);
      const launched = readLaunch(paths.launch)?.machine?.vmm;
      const report = launched === "firecracker" ? readDeviceReport(workspace, paths.firecrackerMetrics) : undefined;
      if (report !== undefined) found.push(report);
      await setImmediate(); // however many there are, a kill comes in between
    }
    return worstReports(found, shownReports);
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

  /** Always in one order, so that two of them never wait for each other. */
  async #inTurns<T>(workspaces: readonly WorkspaceId[], work: () => Promise<T>): Promise<T> {
    const [last, ...before] = [...new Set(workspaces)].toSorted().toReversed();
    if (last === undefined) return work();
    return this.#inTurns(before, () => this.#inTurn(last, work));
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

/** A snapshot that was checked stays what it is until the launcher has opened it: nothing happens to its workspace meanwhile. */
const turnsOf = ({ workspace }: LaunchRequest, source: VmContext | undefined): WorkspaceId[] =>
  source === undefined ? [workspace] : [workspace, source.workspace];

/** What a VMM leaves that ended by itself. */
async function tidy(vm: VmContext): Promise<void> {
  if (inspect(vm).kind === "running") return;
  removeSockets(vm);
  await releaseFloor(vm);
}
