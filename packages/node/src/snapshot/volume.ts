import { mkdirSync, rmSync } from "node:fs";
import type { SnapshotRecord, SnapshotRef } from "@exai/api/host";
import type { LifetimeId } from "@exai/base";
import { limitCgroup } from "../cgroup.ts";
import type { VmContext } from "../context.ts";
import { NodeError } from "../errors.ts";
import { run } from "../exec.ts";
import { executable } from "../launcher-document.ts";
import { isAlive } from "../process.ts";
import type { LaunchRecord } from "../records.ts";
import { inspect, type VmState } from "../state.ts";
import { originOf } from "./origin.ts";
import type { VolumePromises } from "./promises.ts";
import { isMounted, readVolume, volumePaths, volumesMib, volumesOf, writeVolume } from "./volumes.ts";

/** Each is a mount of the host's, which has only so many. */
const mostVolumes = 4;

type Running = Extract<VmState, { kind: "running" }>;
type Machine = NonNullable<LaunchRecord["machine"]>;

/**
 * Makes a volume for the VMM that runs and gives it to it. May be repeated: then the VMM gets it once more.
 * @throws NodeError `not-running`, `no-memory`, `volume-failed`
 */
export async function attachVolume(vm: VmContext, sizeMib: number, promises: VolumePromises): Promise<SnapshotRef> {
  const state = inspect(vm);
  if (state.kind !== "running") throw new NodeError("not-running", "no VMM of the workspace runs");
  const { lifetime, machine } = state.launch;
  if (machine === undefined)
    throw new NodeError("volume-failed", "an older node agent started this VMM; stop and start the workspace");
  const before = readVolume(vm, lifetime);
  if (before?.files !== undefined)
    throw new NodeError("volume-failed", "this lifetime is saved already; drop its snapshot first");
  using _memory = isMounted(vm, lifetime) ? undefined : promises.promise(before?.sizeMib ?? sizeMib);
  const record = before ?? (await begin(vm, state, machine, sizeMib));
  const { at } = volumePaths(vm, lifetime);
  const owner = ["--uid", `${vm.record.uid}`, "--gid", `${vm.record.gid}`];
  await launcher(vm, ["volume-make", "--at", at, "--bytes", `${record.sizeMib * 2 ** 20}`, ...owner]);
  vm.afterStep("volume");
  limit(vm, machine);
  if (machine.vmm === "firecracker") {
    const vmm = ["--pid", `${state.vmm.pid}`, "--start-time", `${state.vmm.startTime}`];
    await launcher(vm, ["volume-bind", "--at", at, ...vmm]);
  } else {
    const monitor = ["--monitor", vm.paths.monitorSocket(vm.tenant)];
    await launcher(vm, ["volume-pass", "--at", at, ...monitor, ...owner]);
  }
  vm.afterStep("volume given");
  return { workspace: vm.workspace, lifetime };
}

async function begin(vm: VmContext, state: Running, machine: Machine, sizeMib: number): Promise<SnapshotRecord> {
  if (volumesOf(vm).length >= mostVolumes)
    throw new NodeError("volume-failed", `the workspace has ${mostVolumes} volumes already; drop one first`);
  const { vmm, launch } = state;
  const running = `/proc/${vmm.pid}/exe`;
  const origin = await originOf(machine.vmm, running, machine.of, executable(vm, machine));
  // Else what was hashed may be what came after it, under its number.
  if (!isAlive(vmm)) throw new NodeError("not-running", "the VMM of the workspace has ended");
  const record: SnapshotRecord = { version: 1, sizeMib, origin };
  mkdirSync(vm.paths.volumes, { recursive: true, mode: 0o700 });
  writeVolume(vm, launch.lifetime, record);
  vm.afterStep("volume record");
  return record;
}

/** What a VMM writes into its volume counts for its own group. */
function limit(vm: VmContext, { limits }: Machine): void {
  if (vm.place.cgroup !== null) limitCgroup(vm.place.cgroup, limits, volumesMib(vm));
}

/** May be repeated. One that was not sealed may still be in the hands of its VMM, and is emptied first. */
export async function dropVolume(vm: VmContext, lifetime: LifetimeId): Promise<void> {
  const { at, record } = volumePaths(vm, lifetime);
  const state = inspect(vm);
  if (readVolume(vm, lifetime)?.files === undefined) await discard(vm, at, state.kind === "running");
  await launcher(vm, ["volume-drop", "--at", at]);
  rmSync(record, { force: true });
  vm.afterStep("no volume");
  if (state.kind === "running" && state.launch.machine !== undefined) limit(vm, state.launch.machine);
}

/** Once the VMM has ended, what is unmounted is gone; a removal is not held up by what can't be emptied. */
async function discard(vm: VmContext, at: string, running: boolean): Promise<void> {
  try {
    await launcher(vm, ["volume-discard", "--at", at]);
  } catch (error) {
    if (running) throw error;
    vm.warn("a volume could not be emptied before it was removed", error);
  }
}

export async function dropVolumes(vm: VmContext, which: (lifetime: LifetimeId) => boolean = () => true): Promise<void> {
  for (const lifetime of volumesOf(vm).filter(which)) await dropVolume(vm, lifetime);
}

/** Of no use to anybody once its VMM has ended: half a snapshot, or one that a restart of the host took. */
export const isUseless = (vm: VmContext, lifetime: LifetimeId): boolean =>
  readVolume(vm, lifetime)?.files === undefined || !isMounted(vm, lifetime);

/** @throws NodeError `volume-failed` */
export async function launcher(vm: VmContext, argv: readonly string[]): Promise<void> {
  const { code, stderr } = await run(vm.config.launcher, argv);
  if (code === 0) return;
  const why = stderr
    .replace(/^exai-launcher: /, "")
    .trim()
    .slice(0, 500);
  throw new NodeError("volume-failed", `the volume can't be used: ${why}`);
}
