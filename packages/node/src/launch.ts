import { setTimeout as sleep } from "node:timers/promises";
import type { LaunchRequest } from "@exai/api/host";
import { z } from "zod";
import { limitCgroup } from "./cgroup.ts";
import type { VmContext } from "./context.ts";
import { NodeError } from "./errors.ts";
import { run } from "./exec.ts";
import { awaitSeats, claimFloor, releaseFloor } from "./floor/vm-floor.ts";
import { fullDisk, tellsOfFullDisk } from "./full-disk.ts";
import { executable, launcherDocument, launchLimits } from "./launcher-document.ts";
import { isPrepared } from "./prepare.ts";
import { bootId, isAlive } from "./process.ts";
import { writeLaunch } from "./records.ts";
import { checkSnapshot, type SnapshotFiles } from "./snapshot/check.ts";
import { machineOf } from "./snapshot/origin.ts";
import { dropVolumes, isUseless } from "./snapshot/volume.ts";
import { volumesMib } from "./snapshot/volumes.ts";
import { makeChannelFolder, removeSockets } from "./sockets.ts";
import { inspect } from "./state.ts";

/**
 * Starts a VMM for this lifetime, once: a lifetime that runs or has ended is not started again.
 * @param source whose snapshot it begins from, if any
 * @throws NodeError `not-prepared`, `running` (another lifetime), `no-blob`, `no-core`, `launch-failed`, and those of a snapshot
 */
export async function launch(vm: VmContext, request: LaunchRequest, source: VmContext = vm): Promise<void> {
  const before = inspect(vm);
  if (before.kind !== "prepared" && before.launch.lifetime === request.lifetime) return;
  if (before.kind === "running") throw new NodeError("running", "a VMM of another lifetime runs");
  if (!isPrepared(vm)) throw new NodeError("not-prepared", "the workspace is not prepared on this host");
  if (before.kind === "exited" && before.keeper !== undefined) await ended(before.keeper);
  const { load } = request;
  const files = load && (await checkSnapshot(source, load.lifetime, request, executable(vm, request)));
  await dropVolumes(vm, (lifetime) => isUseless(vm, lifetime));
  // Of a lifetime that ended while nobody looked.
  await releaseFloor(vm);
  try {
    await start(vm, request, claimFloor(vm, request.cpus), files);
  } catch (error) {
    await releaseFloor(vm);
    throw error;
  }
}

async function start(
  vm: VmContext,
  request: LaunchRequest,
  cgroup: string | null,
  files?: SnapshotFiles,
): Promise<void> {
  const document = launcherDocument(vm, request, files, cgroup);
  // First what a full disk refuses, so that nothing else of a refused launch is there.
  const machine = { vmm: request.vmm, of: machineOf(request), limits: launchLimits(request) };
  writeLaunch(vm.paths.launch, { version: 1, lifetime: request.lifetime, bootId: bootId(), machine });
  vm.afterStep("launch record");
  makeChannelFolder(vm);
  vm.afterStep("channel folder");
  if (vm.place.cgroup !== null) limitCgroup(vm.place.cgroup, launchLimits(request), volumesMib(vm));
  await startLauncher(vm, document);
  vm.afterStep("launcher");
  const state = inspect(vm);
  // One that begins from a snapshot makes its virtual CPUs later, when somebody tells it to load.
  if (state.kind === "running" && request.load === undefined)
    await awaitSeats(vm, state.vmm.pid, () => isAlive(state.vmm));
}

const report = z.union([
  z.object({ ok: z.literal(true), pid: z.int() }),
  z.object({ ok: z.literal(false), step: z.string(), error: z.string() }),
]);

async function startLauncher(vm: VmContext, document: object): Promise<void> {
  const { stdout, stderr } = await run(vm.config.launcher, ["run"], { input: JSON.stringify(document) });
  const answer = report.safeParse(parseJson(stdout));
  if (answer.data?.ok === true) return;
  // A launcher that an earlier agent started may have come first; then its VMM is the one.
  if (answer.data?.step === "status" && (await othersVmm(vm))) return;
  removeSockets(vm);
  if (answer.data?.ok === false && tellsOfFullDisk(answer.data.error)) throw fullDisk();
  const why = answer.success ? `${answer.data.step}: ${answer.data.error}` : `no report: ${stderr}`;
  throw new NodeError("launch-failed", `the VMM was not started: ${why.trim().slice(0, 1000)}`);
}

async function othersVmm(vm: VmContext): Promise<boolean> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (inspect(vm).kind === "running") return true;
    await sleep(5);
  }
  return false;
}

async function ended(keeper: { pid: number; startTime: number }): Promise<void> {
  for (let attempt = 0; attempt < 200 && isAlive(keeper); attempt++) await sleep(5);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
