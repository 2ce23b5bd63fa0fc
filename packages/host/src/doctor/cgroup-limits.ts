import { join } from "node:path";
import { type HostFacts, thisHost } from "./facts.ts";

const needed = ["cpu", "memory", "pids"];

/** Where cgroup v2 is mounted, and what it controls: nothing where v1 holds the controllers. */
export function cgroup2(facts: HostFacts): { mount: string; controllers: string[] } | undefined {
  for (const mount of ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]) {
    const controllers = facts.read(join(mount, "cgroup.controllers"));
    if (controllers === undefined) continue;
    if (!/^[a-z_ ]*$/.test(controllers)) throw new Error(`the controllers of ${mount} are not understood`);
    return { mount, controllers: controllers.split(" ").filter((each) => each !== "") };
  }
  return undefined;
}

/** Whether this host can hold a VMM's memory, CPU and processes to a limit: cgroup v2, with the controllers for it. */
export function cgroupLimits(facts: HostFacts = thisHost): { ok: boolean; found: string } {
  const there = cgroup2(facts);
  if (there === undefined) return { ok: false, found: "cgroup v2 is not mounted: limits are not enforced" };
  const { mount, controllers } = there;
  const missing = needed.filter((each) => !controllers.includes(each));
  if (missing.length === 0) return { ok: true, found: `${mount}: ${controllers.join(" ")}` };
  return { ok: false, found: `${mount} lacks ${missing.join(", ")}: limits are not enforced` };
}
