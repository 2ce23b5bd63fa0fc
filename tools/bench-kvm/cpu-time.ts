import { readFileSync } from "node:fs";
import { ifThere } from "../../packages/node/src/files.ts";

/**
 * CPU time in ms of a control group and all below it, of processes that have ended and of groups that were removed, too
 * (`cpu.stat` of cgroup v2, which needs no controller). 0 where there is no group yet.
 */
export function cpuMs(cgroup: string): number {
  const text = ifThere(() => readFileSync(`${cgroup}/cpu.stat`, "utf8"));
  if (text === undefined) return 0;
  const usage = /^usage_usec (\d+)$/m.exec(text)?.[1];
  if (usage === undefined) throw new Error(`${cgroup}/cpu.stat says no CPU time`);
  return Number(usage) / 1000;
}

const tickMs = 10;

/** Of this process's children that have ended. */
export const childrenCpuMs = (stat = read("self")): number => ticks(stat, 13);

/** Of a process itself, all its threads. */
export const processCpuMs = (pid: number): number => ticks(read(String(pid)), 11);

const read = (process: string): string => readFileSync(`/proc/${process}/stat`, "latin1");

/** User and system time stand one after the other (proc(5): from utime, cutime), in hundredths of a second. */
function ticks(stat: string, at: number): number {
  // The second field is a name in brackets and may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[at]) + Number(fields[at + 1])) * tickMs;
}
