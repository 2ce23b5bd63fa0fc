import { execFileSync } from "node:child_process";
import { chownSync } from "node:fs";
import { join } from "node:path";
import { jail } from "@exai/api/host";
import { createLogger, newLifetimeId, newWorkspaceId, type WorkspaceId } from "@exai/base";
import { dialGuest, type GuestSession, type LaunchPlan } from "@exai/machine";
import { LocalPlacer } from "@exai/node";
import { limitCgroup } from "../../packages/node/src/cgroup.ts";
import { type VmContext, vmContext } from "../../packages/node/src/context.ts";
import { run } from "../../packages/node/src/exec.ts";
import { launcherDocument, launchLimits } from "../../packages/node/src/launcher-document.ts";
import { bootId } from "../../packages/node/src/process.ts";
import { readTenant, writeLaunch } from "../../packages/node/src/records.ts";
import type { SnapshotFiles } from "../../packages/node/src/snapshot/check.ts";
import { makeChannelFolder } from "../../packages/node/src/sockets.ts";
import { HostFixture } from "../../tests/vm/host-fixture.ts";
import { BareApi } from "./bare-api.ts";

const never = new AbortController().signal;

/** A Firecracker in our jail that was told nothing yet. */
export interface BareVm {
  readonly api: BareApi;
  /** Paths on the host of what is in the jail. */
  readonly workspace: WorkspaceId;
  /** When the launcher was started. */
  readonly startedMs: number;
  dial(): Promise<GuestSession>;
  /** With everything of it. */
  remove(): Promise<void>;
}

/**
 * The reference: the same launcher, jail, kernel and image, but Firecracker is told what to do by bare calls of its API. What
 * our node agent prepares – namespace, control group, disk – is there before the time counts.
 */
export class BareHost implements AsyncDisposable {
  readonly #host: HostFixture;
  readonly #calls;

  constructor(config: { imageStore: string; firecracker: string }) {
    this.#host = new HostFixture(config);
    this.#calls = this.#host.agent().handlers(this.#host.tenants[0]);
  }

  /** @param from a snapshot that shall be in the jail, and the disk that goes with it */
  async start(plan: LaunchPlan, diskMib: number, from?: { files: SnapshotFiles; disk: string }): Promise<BareVm> {
    const workspace = newWorkspaceId();
    const lifetime = newLifetimeId();
    const { uid = 0 } = await this.#calls.prepare({ workspace, diskMib }, never);
    const vm = this.#context(workspace);
    if (from !== undefined) takeDisk(from.disk, vm.paths.disk, uid);
    makeChannelFolder(vm);
    const request = { workspace, lifetime, ...plan, argv: ["--api-sock", jail.api], config: "" };
    if (vm.place.cgroup !== null) limitCgroup(vm.place.cgroup, launchLimits(request));
    writeLaunch(vm.paths.launch, { version: 1, lifetime, bootId: bootId() });
    const document = JSON.stringify(launcherDocument(vm, request, from?.files));
    const startedMs = performance.now();
    const { code, stdout, stderr } = await run(vm.config.launcher, ["run"], { input: document });
    if (code !== 0) throw new Error(`the launcher ended with ${code}: ${stdout}${stderr}`);
    const api = await BareApi.open(vm.paths.monitorSocket(vm.tenant));
    return {
      api,
      workspace,
      startedMs,
      dial: () => dialGuest(vm.paths.channelSocket(vm.tenant), { hostname: workspace, timeoutMs: 60_000 }),
      remove: async () => {
        api[Symbol.dispose]();
        await this.#calls.remove({ workspace }, never);
      },
    };
  }

  #context(workspace: WorkspaceId): VmContext {
    const { config, cgroups } = this.#host;
    const record = readTenant(join(config.vmsFolder, workspace, "tenant.json"));
    if (record === undefined) throw new Error("the workspace was not prepared");
    const placer = new LocalPlacer({ stack: config.stack, cgroups, ownerOf: () => record });
    const logger = createLogger({ process: "bench", write: () => undefined });
    return vmContext({ config, logger, placer: () => placer }, placer, workspace, record);
  }

  leftovers(): string[] {
    return this.#host.leftovers();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#host[Symbol.asyncDispose]();
  }
}

/** A copy for another VM, with its holes. */
export function takeDisk(from: string, to: string, uid: number): void {
  execFileSync("cp", ["--sparse=always", from, to]);
  chownSync(to, uid, uid);
}

/** Boots what the driver's configuration file says, call by call. */
export async function bootByCalls(api: BareApi, config: string): Promise<void> {
  const { drives, ...parts } = JSON.parse(config) as { drives: { drive_id: string }[] } & Record<string, unknown>;
  // Log and metrics first, as Firecracker wants it.
  for (const name of ["logger", "metrics", "machine-config", "boot-source", "vsock", "entropy", "balloon"])
    await api.put(`/${name}`, parts[name]);
  for (const drive of drives) await api.put(`/drives/${drive.drive_id}`, drive);
  await api.put("/actions", { action_type: "InstanceStart" });
}
