import type { DoctorCheckId } from "@exai/api/host";
import { cgroup2 } from "../cgroup-limits.ts";
import { bad, type Check, type Finding, notApplicable, ok } from "../check.ts";
import type { HostFacts } from "../facts.ts";
import { fieldsOf, type RunningVmm, runningVmms } from "../running.ts";

const report = "stop the workspace ('exai ws stop') and report this: its VMM is not in its jail";
const each = (show: string): string => `for p in $(pgrep 'firecracker|qemu-system'); do ${show}; done`;

/** What a cgroup's files hold when there is a limit; without one it is "max". */
const maxima = { "memory.max": /^\d{1,20}$/, "cpu.max": /^\d{1,12} \d{1,12}$/, "pids.max": /^\d{1,10}$/ } as const;

/** A property that every VMM has, looked at in /proc: it is proven of those that run now, and of no other. */
function ofEach(
  id: DoctorCheckId,
  words: { reason: string; command: string; holds: string },
  fault: (vmm: RunningVmm, facts: HostFacts, all: readonly RunningVmm[]) => string | undefined,
): Check {
  return {
    id,
    severity: { production: "fail" },
    reason: words.reason,
    remedy: report,
    command: each(words.command),
    look(facts): Finding {
      const all = runningVmms(facts);
      if (all.length === 0) return notApplicable("no microVM runs now, so there is none to look at");
      const faults = all.flatMap((vmm) => {
        const found = fault(vmm, facts, all);
        // A process that went meanwhile has no fault.
        return found === undefined || facts.link(`/proc/${vmm.pid}/exe`) === undefined
          ? []
          : [`process ${vmm.pid} ${found}`];
      });
      return faults.length === 0 ? ok(`${all.length} that run: ${words.holds}`) : bad(faults.slice(0, 5).join("; "));
    },
  };
}

export const runningChecks: readonly Check[] = [
  ofEach(
    "vmm-seccomp",
    {
      reason: "a VMM that its guest took over must not be able to ask the kernel for anything that it does not need",
      command: "grep -H Seccomp: /proc/$p/task/*/status",
      holds: "a filter on every thread",
    },
    ({ pid }, facts) => {
      const threads = (facts.list(`/proc/${pid}/task`) ?? []).map((thread) =>
        facts.read(`/proc/${pid}/task/${thread}/status`),
      );
      const open = threads.filter((text) => text !== undefined && fieldsOf(text).get("Seccomp") !== "2");
      return open.length === 0 ? undefined : `has ${open.length} threads without a filter of system calls`;
    },
  ),
  ofEach(
    "vmm-uid",
    {
      reason: "each VMM has a uid that no other has, so that one that breaks out reaches no other's files",
      command: "grep -H -e Uid: -e Gid: /proc/$p/status",
      holds: "a uid each",
    },
    ({ uid, status }, _facts, all) => {
      const ids = ["Uid", "Gid"].flatMap((name) => status.get(name)?.split("\t") ?? [""]);
      if (!ids.every((id) => id === String(uid))) return "has other users or groups than its own";
      return all.filter((other) => other.uid === uid).length === 1 ? undefined : "shares its uid with another program";
    },
  ),
  ofEach(
    "vmm-rights",
    {
      reason: "a VMM needs no right of root's, and must not be able to gain one",
      command: "grep -H -e Cap -e NoNewPrivs -e Groups /proc/$p/status",
      holds: "no capability, no group, no way to gain any",
    },
    ({ status }) => {
      const sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
      if (!sets.every((name) => /^0+$/.test(status.get(name) ?? ""))) return "has capabilities";
      if (status.get("NoNewPrivs") !== "1") return "could gain rights by executing something";
      return status.get("Groups") === "" ? undefined : "belongs to further groups";
    },
  ),
  ofEach(
    "vmm-limits",
    {
      reason: "files, descriptors and cores of a VMM are limited, as Firecracker's guide asks",
      command: "grep -H -e 'file size' -e 'open files' /proc/$p/limits",
      holds: "no core, files and descriptors limited",
    },
    ({ pid }, facts) => {
      const limits = facts.read(`/proc/${pid}/limits`) ?? "";
      const hard = (name: string) => new RegExp(`^${name} +\\S+ +(\\S+)`, "m").exec(limits)?.[1] ?? "unlimited";
      if (hard("Max core file size") !== "0") return "may leave a core";
      if (!/^\d{1,18}$/.test(hard("Max file size"))) return "may write files of any size";
      return Number(hard("Max open files")) <= 1024 ? undefined : "may open more than 1024 files";
    },
  ),
  ofEach(
    "vmm-cgroup",
    {
      reason: "a guest must not be able to take its neighbours' memory and processors",
      command: "cat /proc/$p/cgroup",
      holds: "memory, processors and processes limited",
    },
    ({ pid }, facts) => {
      const path = /^0::(\/[\w./-]{1,200})$/m.exec(facts.read(`/proc/${pid}/cgroup`) ?? "")?.[1];
      const mount = cgroup2(facts)?.mount;
      if (path === undefined || mount === undefined || path.split("/").includes(".."))
        return "has no cgroup of its own";
      const limited = Object.entries(maxima).every(([file, number]) =>
        number.test(facts.read(`${mount}${path}/${file}`) ?? ""),
      );
      return limited ? undefined : "may use more memory, processors or processes than it was given";
    },
  ),
  ofEach(
    "metadata-address",
    {
      reason: "who reaches a cloud's metadata at 169.254.169.254 gets the host's own keys",
      command: "grep -H : /proc/$p/net/dev; readlink /proc/$p/ns/net",
      holds: "a network namespace each, with loopback alone, from which no address is reached",
    },
    ({ pid }, facts) => {
      const own = facts.link(`/proc/${pid}/ns/net`);
      if (own === undefined || own === facts.link("/proc/self/ns/net")) return "is in the host's network";
      const [, , ...lines] = (facts.read(`/proc/${pid}/net/dev`) ?? "").split("\n");
      const names = lines.map((line) => line.split(":")[0]?.trim());
      return names.length === 1 && names[0] === "lo" ? undefined : "has a network card";
    },
  ),
];
