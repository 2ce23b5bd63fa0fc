import { bad, type Check, ok } from "../check.ts";
import type { DoctorContext } from "../context.ts";

/** Whether a virtual CPU gets a core of its own here; docs/internals/floor.md. */
export const cpuFloor = (context: DoctorContext): Check => ({
  id: "cpu-floor",
  severity: { development: "warn", production: "warn" },
  reason: "without a core of its own a virtual CPU waits for its neighbours, and can be measured by them",
  remedy: "use a machine with three or more cores and cgroup v2 with cpuset, where no other group has a set of CPUs",
  command:
    "cat /sys/fs/cgroup/cpuset.cpus.effective; grep . /sys/fs/cgroup/*/cpuset.cpus /sys/fs/cgroup/*/cpuset.cpus.partition",
  async look() {
    const floor = await context.hostFloor();
    return floor.enforced ? ok(floor.about) : bad(`floor not enforced: ${floor.why}`);
  },
});
