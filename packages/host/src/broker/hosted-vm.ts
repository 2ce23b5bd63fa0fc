import type { WorkspaceSpec } from "@exai/api";
import type { channelContract, nodeContract, VmStatus } from "@exai/api/host";
import { type Clock, errorCode, newLifetimeId, type WorkspaceId } from "@exai/base";
import { type IpcClient, IpcError } from "@exai/ipc";
import {
  type Accelerator,
  exitReason,
  type LaunchPlan,
  memoryOverheadMib,
  planFirecracker,
  planQemu,
  type VerifiedImage,
} from "@exai/machine";
import { HostError } from "../errors.ts";
import type { TenantAudit } from "./audit.ts";
import type { Capacity, Need } from "./capacity.ts";
import type { Boot } from "./lifecycle.ts";
import type { Microvm } from "./microvm.ts";

export interface HostedVmOptions {
  workspace: WorkspaceId;
  spec: WorkspaceSpec;
  /** When the broker took the intent, on the monotonic clock. */
  admittedMs: number;
  clock: Clock;
  node: IpcClient<typeof nodeContract>;
  channel: IpcClient<typeof channelContract>;
  audit: TenantAudit;
  capacity: Capacity;
  loadImage(digest: string): Promise<VerifiedImage>;
  vmm: LaunchPlan["vmm"];
  accelerator: Accelerator;
  production: boolean;
}

const readyMs = 120_000;
/** How long one call for readiness waits, before it looks whether the VMM still lives. */
const readySliceMs = 10_000;

export class HostedVm implements Microvm {
  readonly #o: HostedVmOptions;
  #admittedMs: number;
  #launchedMs = 0;

  get vmm(): LaunchPlan["vmm"] {
    return this.#o.vmm;
  }

  get accelerator(): "kvm" | "tcg" {
    return this.#o.accelerator.kind;
  }

  constructor(options: HostedVmOptions) {
    this.#o = options;
    this.#admittedMs = options.admittedMs;
  }

  get #need(): Need {
    const { memoryMib, cpus } = this.#o.spec;
    return { memoryMib: memoryMib + memoryOverheadMib(memoryMib, this.#o.accelerator.kind), cpus };
  }

  /** A later start counts its own time. */
  restartClock(nowMs: number): void {
    this.#admittedMs = nowMs;
  }

  async isRunning(): Promise<boolean> {
    const running = this.#seen(await this.#status()).state === "running";
    if (running) this.#o.capacity.adopt(this.#o.workspace, this.#need);
    return running;
  }

  #seen(status: VmStatus): VmStatus {
    this.#o.capacity.holdVolumes(this.#o.workspace, status.volumesMib ?? 0);
    return status;
  }

  async #status(): Promise<VmStatus> {
    const { workspace, node } = this.#o;
    // Asked with no patience: the answer is the state now.
    return node.call("awaitExit", { workspace, timeoutMs: 0 });
  }

  async launch(): Promise<Boot> {
    const { workspace, spec, node, capacity, clock } = this.#o;
    const floor = await node.call("floor", {});
    capacity.reserve(workspace, this.#need, floor.enforced ? floor.cores : undefined);
    const image = await this.#o.loadImage(spec.image);
    if (this.#o.production && image.kernelFlavor !== "exai") {
      throw new HostError("admission", "production does not boot the distribution's kernel; use an image with ours");
    }
    if (this.#o.vmm === "firecracker" && image.kernelFlavor !== "exai") {
      throw new HostError("admission", "Firecracker boots our own kernel only; use an image with it");
    }
    const lifetime = newLifetimeId();
    await this.#o.audit.grant("vm.boot", workspace, { lifetime, image: spec.image });
    await node.call("prepare", { workspace, diskMib: spec.diskMib });
    const plan = this.#plan(image);
    const status = await node.call("launch", { workspace, lifetime, ...plan });
    this.#launchedMs = clock.monotonicMs();
    return {
      lifetime,
      notEnforced: status.notEnforced,
      timings: { admitMs: this.#launchedMs - this.#admittedMs },
    };
  }

  #plan(image: VerifiedImage): LaunchPlan {
    const { vmm, spec, accelerator } = this.#o;
    const size = { cpus: spec.cpus, memoryMib: spec.memoryMib };
    return vmm === "firecracker" ? planFirecracker(image, size) : planQemu(image, size, accelerator);
  }

  async awaitReady(signal: AbortSignal) {
    const { workspace, channel, clock } = this.#o;
    const untilMs = clock.monotonicMs() + readyMs;
    for (;;) {
      try {
        const call = channel.call(
          "awaitReady",
          { workspace, timeoutMs: readySliceMs },
          { timeoutMs: readySliceMs + 5_000 },
        );
        const ready = await orInterrupted(call, signal);
        const nowMs = clock.monotonicMs();
        // After a restart of the broker nobody knows when the VM was launched.
        const timings =
          this.#launchedMs === 0 ? {} : { bootMs: nowMs - this.#launchedMs, readyMs: nowMs - this.#admittedMs };
        await this.#o.audit.grant("vm.ready", workspace, { kernel: ready.kernelRelease });
        return { kernel: ready.kernelRelease, timings };
      } catch (error) {
        if (!isNotReady(error)) throw error;
        if (!(await this.isRunning()))
          throw new HostError("missing", "the microVM ended before its guest was ready; see its console log", {
            cause: error,
          });
        if (clock.monotonicMs() > untilMs) {
          throw new HostError("missing", `the guest was not ready after ${readyMs / 1000} s; see its console log`, {
            cause: error,
          });
        }
      }
    }
  }

  async awaitExit(signal: AbortSignal): Promise<{ clean: boolean; why: string } | undefined> {
    const { workspace, node } = this.#o;
    while (!signal.aborted) {
      const call = node.call("awaitExit", { workspace, timeoutMs: 50_000 }, { timeoutMs: 60_000 });
      const status = await orInterrupted(call, signal).catch((error: unknown) => {
        if (errorCode(error) === "interrupted") return undefined;
        throw error;
      });
      if (status !== undefined && status.state !== "running") {
        const { exit = {} } = status;
        return { clean: exit.code === 0, why: exitReason(this.#o.vmm, exit) };
      }
    }
    return undefined;
  }

  async shutdown(graceMs: number): Promise<void> {
    const { workspace, channel, node } = this.#o;
    try {
      await channel.call("shutdown", { workspace, graceMs }, { timeoutMs: graceMs + 2_000 });
      await node.call("awaitExit", { workspace, timeoutMs: graceMs + 3_000 }, { timeoutMs: graceMs + 8_000 });
    } catch (error) {
      // A guest that does not go by itself is killed next, whatever the reason.
      if (!(error instanceof IpcError)) throw error;
    }
  }

  async kill(why: string): Promise<void> {
    const { workspace, node, capacity, audit } = this.#o;
    audit.contain("vm.exit", workspace, { why });
    this.#seen(await node.call("kill", { workspace }));
    capacity.release(workspace);
  }

  async remove(): Promise<void> {
    const { workspace, node, capacity, audit } = this.#o;
    audit.contain("workspace.destroy", workspace, {});
    await node.call("remove", { workspace });
    capacity.holdVolumes(workspace, 0);
    capacity.release(workspace);
  }
}

const isNotReady = (error: unknown): boolean =>
  error instanceof IpcError &&
  (error.code === "timeout" ||
    (error.code === "refused" && (error.remoteCode === "not-ready" || error.remoteCode === "no-vm")));

/** @throws HostError `interrupted` when the signal fires first; the call itself goes on and its answer is dropped */
async function orInterrupted<T>(call: Promise<T>, signal: AbortSignal): Promise<T> {
  call.catch(() => undefined);
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(new HostError("interrupted", "the goal changed"));
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([call, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
    promise.catch(() => undefined);
  }
}
