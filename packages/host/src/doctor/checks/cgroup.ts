import { cgroup2, cgroupLimits } from "../cgroup-limits.ts";
import { type Check, okIf } from "../check.ts";

export const cgroupChecks: readonly Check[] = [
  {
    id: "cgroup2",
    severity: { development: "warn", production: "fail" },
    reason: "limits on a VMM's memory, CPU and processes are held by cgroup v2; without it they are not enforced",
    remedy: "boot with systemd.unified_cgroup_hierarchy=1",
    command: "cat /sys/fs/cgroup/cgroup.controllers",
    look(facts) {
      const { ok, found } = cgroupLimits(facts);
      return okIf(ok, found);
    },
  },
  {
    id: "cgroup-cpuset",
    severity: { production: "fail" },
    reason: "a microVM's processors are set aside for it by the cpuset controller of cgroup v2",
    remedy: "boot with systemd.unified_cgroup_hierarchy=1, on a kernel with CONFIG_CPUSETS",
    command: "grep -ow cpuset /sys/fs/cgroup/cgroup.controllers",
    look(facts) {
      const there = cgroup2(facts)?.controllers.includes("cpuset") === true;
      return okIf(there, there ? "cpuset" : "cgroup v2 has no cpuset controller here");
    },
  },
];
