import { mkdirSync, rmSync, statfsSync } from "node:fs";
import type { SnapshotRef } from "@exai/api/host";
import type { LifetimeId } from "@exai/base";
import { limitCgroup } from "../cgroup.ts";
import type { VmContext } from "../context.ts";
import { NodeError } from "../errors.ts";
import { run } from "../exec.ts";
import { inspect } from "../state.ts";
import { availableMib, originOf } from "./origin.ts";
import { isMounted, readVolume, volumePaths, volumesMib, volumesOf, writeVolume } from "./volumes.ts";

/** What a host keeps for itself when a volume is made. */
const marginMib = 128;

/**
 * Makes a volume for the VMM that runs and gives it to it. May be repeated: then the VMM gets it once more.
 * @param others the other VMs of this host, whose volumes may still grow
 * @throws NodeError `not-running`, `no-memory`, `volume-failed`
 */
export async function attachVolume(vm: VmContext, sizeMib: number, others: readonly VmContext[]): Promise<SnapshotRef> {
  const state = inspect(vm);
  if (state.kind !== "running") throw new NodeError("not-running", "no VMM of the workspace runs");
  const { lifetime, machine } = state.launch;
  if (machine === undefined)
    throw new NodeError("volume-failed", "an older node agent started this VMM; start it anew");
  const paths = volumePaths(vm, lifetime);
  if (readVolume(vm, lifetime) === undefined) {
    admit(sizeMib, others);
    mkdirSync(vm.paths.volumes, { recursive: true, mode: 0o700 });
    const origin = await originOf(machine.vmm, `/proc/${state.vmm.pid}/exe`, machine.of);
    writeVolume(vm, lifetime, { version: 1, sizeMib, origin });
    vm.afterStep("volume record");
  }
  const { uid, gid } = vm.record;
  const owner = ["--uid", `${uid}`, "--gid", `${gid}`];
  await launcher(vm, ["volume-make", "--at", paths.at, "--bytes", `${sizeMib * 2 ** 20}`, ...owner]);
  vm.afterStep("volume");
  // What the VMM writes there counts for its own group.
  if (vm.place.cgroup !== null) limitCgroup(vm.place.cgroup, machine.limits, volumesMib(vm));
  if (machine.vmm === "firecracker") {
    const vmm = ["--pid", `${state.vmm.pid}`, "--start-time", `${state.vmm.startTime}`];
    await launcher(vm, ["volume-bind", "--at", paths.at, ...vmm]);
  } else {
    const monitor = ["--monitor", vm.paths.monitorSocket(vm.tenant)];
    await launcher(vm, ["volume-pass", "--at", paths.at, ...monitor, ...owner]);
  }
  vm.afterStep("volume given");
  return { workspace: vm.workspace, lifetime };
}

/** A volume that is there may take all that it was promised. */
function admit(sizeMib: number, others: readonly VmContext[]): void {
  const promised = others.reduce((sum, vm) => sum + stillToGrowMib(vm), 0);
  const free = Math.max(0, availableMib() - promised - marginMib);
  if (sizeMib <= free) return;
  throw new NodeError(
    "no-memory",
    `a volume of ${sizeMib} MiB does not fit: ${free} MiB of memory are free on this host; stop a workspace first`,
  );
}

function stillToGrowMib(vm: VmContext): number {
  return volumesOf(vm).reduce((sum, lifetime) => {
    const { at } = volumePaths(vm, lifetime);
    const free = isMounted(vm, lifetime) ? statfsSync(at) : { bfree: 0, bsize: 0 };
    return sum + Math.ceil((free.bfree * free.bsize) / 2 ** 20);
  }, 0);
}

/** May be repeated. */
export async function dropVolume(vm: VmContext, lifetime: LifetimeId): Promise<void> {
  const { at, record } = volumePaths(vm, lifetime);
  await launcher(vm, ["volume-drop", "--at", at]);
  rmSync(record, { force: true });
  vm.afterStep("no volume");
}

export async function dropVolumes(vm: VmContext, which: (lifetime: LifetimeId) => boolean = () => true): Promise<void> {
  for (const lifetime of volumesOf(vm).filter(which)) await dropVolume(vm, lifetime);
}

async function launcher(vm: VmContext, argv: readonly string[]): Promise<void> {
  const { code, stderr } = await run(vm.config.launcher, argv);
  if (code === 0) return;
  const why = stderr
    .replace(/^exai-launcher: /, "")
    .trim()
    .slice(0, 500);
  throw new NodeError("volume-failed", `the volume can't be used: ${why}`);
}
