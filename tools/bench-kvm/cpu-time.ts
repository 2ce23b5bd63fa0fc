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
