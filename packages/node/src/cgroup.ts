import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { errorCode } from "@exai/base";
import { NodeError } from "./errors.ts";
import { ifThere, isThere, readIfThere } from "./files.ts";
import { kernelTree } from "./floor/tree.ts";

/** Where cgroup v2 is mounted; undefined on a host without. Next to v1 it is there with no controllers. */
export function cgroup2Mount(mountinfo = readFileSync("/proc/self/mountinfo", "utf8")): string | undefined {
  for (const line of mountinfo.split("\n")) {
    // proc(5): … mount point (5th), options, optional fields, "-", type
    const [before, after] = line.split(" - ");
    if (after?.startsWith("cgroup2 ")) return before?.split(" ")[4];
  }
  return undefined;
}

const controllers = ["memory", "cpu", "pids", "cpuset"] as const;
const periodUs = 100_000;

export interface CgroupLimits {
  readonly memoryBytes: number;
  readonly cpus: number;
  readonly pids: number;
}

/**
 * Weight of all guests of a stack together (cgroup v2, 1 to 10000), where one process of the host's, or one slice of its
 * service manager's, has 100: what stops, witnesses and serves guests goes first where it shares a CPU with them.
 */
const guestsWeight = 20;
const kernelsWeight = "100";

/** Makes the group and passes down to it what controllers there are. */
export function makeCgroup(folder: string): void {
  try {
    const stack = dirname(folder);
    for (const parent of [dirname(stack), stack]) {
      mkdirSync(parent, { recursive: true });
      passControllersDown(parent);
    }
    // An operator's own stays.
    const weight = readIfThere(`${stack}/cpu.weight`);
    if (weight?.trim() === kernelsWeight) set(stack, "cpu.weight", guestsWeight);
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    throw new NodeError("cgroup-failed", `the cgroup ${folder} can't be made`, { cause });
  }
}

/** One by one: a controller that can't be passed down (v1 holds it, a container keeps it) is then reported as missing. */
function passControllersDown(folder: string): void {
  const there = readFileSync(`${folder}/cgroup.controllers`, "utf8").trim().split(" ");
  for (const controller of controllers.filter((each) => there.includes(each))) {
    try {
      writeFileSync(`${folder}/cgroup.subtree_control`, `+${controller}`);
    } catch (error) {
      if (!["EBUSY", "EACCES", "EROFS", "EPERM"].includes(errorCode(error) ?? "")) throw error;
    }
  }
}

/** @param volumesMib what the VMM may write into volumes, whose pages count for its group */
export function limitCgroup(folder: string, limits: CgroupLimits, volumesMib = 0): void {
  // Half a CPU more than the guest has: the VMM's own threads must not starve it.
  const quotaUs = Math.round((limits.cpus + 0.5) * periodUs);
  set(folder, "memory.max", limits.memoryBytes + volumesMib * 2 ** 20);
  set(folder, "memory.swap.max", 0);
  set(folder, "memory.oom.group", 1);
  set(folder, "cpu.max", `${quotaUs} ${periodUs}`);
  set(folder, "pids.max", limits.pids);
}

function set(folder: string, file: string, value: number | string): void {
  const path = `${folder}/${file}`;
  if (isThere(path)) ifThere(() => writeFileSync(path, String(value)));
}

/** What this host can't hold, in words. Processes are bounded by RLIMIT_NPROC of the VM's own uid in any case. */
export function notEnforced(folder: string | null): string[] {
  const has = (file: string) => folder !== null && isThere(`${folder}/${file}`);
  return [...(has("memory.max") ? [] : ["memory limit"]), ...(has("cpu.max") ? [] : ["cpu limit"])];
}

/** Ends whatever is still in it. */
export async function removeCgroup(folder: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    try {
      for (const name of kernelTree.children(folder)) rmdirSync(`${folder}/${name}`);
      rmdirSync(folder);
      return;
    } catch (error) {
      if (errorCode(error) === "ENOENT") return;
      if (errorCode(error) !== "EBUSY") throw error;
    }
    // A process that was just killed leaves a moment later; one that was not meant to be here is killed now.
    if (attempt === 10) ifThere(() => writeFileSync(`${folder}/cgroup.kill`, "1"));
    await sleep(attempt < 20 ? 1 : 10);
  }
  throw new NodeError("cgroup-failed", `processes in ${folder} do not end`);
}
