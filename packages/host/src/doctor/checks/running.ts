import { dirname } from "node:path";
import type { DoctorCheckId } from "@exai/api/host";
import { cgroup2 } from "../cgroup-limits.ts";
import { bad, type Check, notApplicable, ok } from "../check.ts";
import type { HostFacts } from "../facts.ts";
import { fieldsOf, type RunningVmm, runningVmms } from "../running.ts";

const report = "stop the workspace ('exai ws stop') and report this: its VMM is not in its jail";
const each = (show: string): string => `for p in $(pgrep 'firecracker|qemu-system'); do ${show}; done`;

/** What a cgroup's files hold when there is a limit; without one it is "max". */
const maxima = { "memory.max": /^\d{1,20}$/, "cpu.max": /^\d{1,12} \d{1,12}$/, "pids.max": /^\d{1,10}$/ } as const;

interface Property {
  readonly id: DoctorCheckId;
  readonly reason: string;
  /** For each $p. */
  readonly command: string;
  readonly holds: string;
  /** What is wrong with it, in words that follow "process 7". */
  fault(vmm: RunningVmm, facts: HostFacts, all: readonly RunningVmm[]): string | undefined;
}

/** Of one, or of all that run; that it holds is proven of those that are looked at, and of no other. */
function faultsOf({ fault }: Property, vmms: readonly RunningVmm[], facts: HostFacts): string[] {
  const all = runningVmms(facts);
  return vmms.flatMap((vmm) => {
    const found = fault(vmm, facts, all);
    // A process that went meanwhile has no fault.
    const went = found === undefined || facts.link(`/proc/${vmm.pid}/exe`) === undefined;
    return went ? [] : [`process ${vmm.pid} ${found}`];
  });
}

const checkOf = (property: Property): Check => ({
  id: property.id,
  severity: { production: "fail" },
  reason: property.reason,
  remedy: report,
  command: each(property.command),
  look(facts) {
    const all = runningVmms(facts);
    if (all.length === 0) return notApplicable("no microVM runs now, so there is none to look at");
    const faults = faultsOf(property, all, facts);
    return faults.length === 0 ? ok(`${all.length} that run: ${property.holds}`) : bad(faults.slice(0, 5).join("; "));
  },
});

const properties: readonly Property[] = [
  {
    id: "vmm-seccomp",
    reason: "a VMM that its guest took over must not be able to ask the kernel for anything that it does not need",
    command: "grep -H Seccomp: /proc/$p/task/*/status",
    holds: "a filter on every thread",
    fault: ({ pid }, facts) => {
      const threads = (facts.list(`/proc/${pid}/task`) ?? []).map((thread) =>
        facts.read(`/proc/${pid}/task/${thread}/status`),
      );
      const open = threads.filter((text) => text !== undefined && fieldsOf(text).get("Seccomp") !== "2");
      return open.length === 0 ? undefined : `has ${open.length} threads without a filter of system calls`;
    },
  },
  {
    id: "vmm-uid",
    reason: "each VMM has a uid that no other has, so that one that breaks out reaches no other's files",
    command: "grep -H -e Uid: -e Gid: /proc/$p/status",
    holds: "a uid each",
    fault: ({ uid, status }, _facts, all) => {
      const ids = ["Uid", "Gid"].flatMap((name) => status.get(name)?.split("\t") ?? [""]);
      if (!ids.every((id) => id === String(uid))) return "has other users or groups than its own";
      return all.filter((other) => other.uid === uid).length === 1 ? undefined : "shares its uid with another program";
    },
  },
  {
    id: "vmm-rights",
    reason: "a VMM needs no right of root's, and must not be able to gain one",
    command: "grep -H -e Cap -e NoNewPrivs -e Groups /proc/$p/status",
    holds: "no capability, no group, no way to gain any",
    fault: ({ status }) => {
      const sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
      if (!sets.every((name) => /^0+$/.test(status.get(name) ?? ""))) return "has capabilities";
      if (status.get("NoNewPrivs") !== "1") return "could gain rights by executing something";
      return status.get("Groups") === "" ? undefined : "belongs to further groups";
    },
  },
  {
    id: "vmm-limits",
    reason: "files, descriptors and cores of a VMM are limited, as Firecracker's guide asks",
    command: "grep -H -e 'file size' -e 'open files' /proc/$p/limits",
    holds: "no core, files and descriptors limited",
    fault: ({ pid }, facts) => {
      const limits = facts.read(`/proc/${pid}/limits`) ?? "";
      const hard = (name: string) => new RegExp(`^${name} +\\S+ +(\\S+)`, "m").exec(limits)?.[1] ?? "unlimited";
      if (hard("Max core file size") !== "0") return "may leave a core";
      if (!/^\d{1,18}$/.test(hard("Max file size"))) return "may write files of any size";
      return Number(hard("Max open files")) <= 1024 ? undefined : "may open more than 1024 files";
    },
  },
  {
    id: "vmm-cgroup",
    reason: "a guest must not be able to take its neighbours' memory and processors",
    command: "cat /proc/$p/cgroup",
    holds: "memory, processors and processes limited",
    fault: ({ pid }, facts) => {
      const path = /^0::(\/[\w./-]{1,200})$/m.exec(facts.read(`/proc/${pid}/cgroup`) ?? "")?.[1];
      const mount = cgroup2(facts)?.mount;
      if (path === undefined || mount === undefined || path.split("/").includes(".."))
        return "has no cgroup of its own";
      // With cores of their own its threads are in groups below the one that is limited.
      const groups = path.endsWith("/shared") ? [path, dirname(path)] : [path];
      const limited = Object.entries(maxima).every(([file, number]) =>
        groups.some((group) => number.test(facts.read(`${mount}${group}/${file}`) ?? "")),
      );
      return limited ? undefined : "may use more memory, processors or processes than it was given";
    },
  },
  {
    id: "metadata-address",
    reason: "who reaches a cloud's metadata at 169.254.169.254 gets the host's own keys",
    command: "grep -H : /proc/$p/net/dev; readlink /proc/$p/ns/net",
    holds: "a network namespace each, with loopback alone, from which no address is reached",
    fault: ({ pid }, facts) => {
      const own = facts.link(`/proc/${pid}/ns/net`);
      if (own === undefined || own === facts.link("/proc/self/ns/net")) return "is in the host's network";
      const [, , ...lines] = (facts.read(`/proc/${pid}/net/dev`) ?? "").split("\n");
      const names = lines.map((line) => line.split(":")[0]?.trim());
      return names.length === 1 && names[0] === "lo" ? undefined : "has a network card";
    },
  },
];

export const runningChecks = properties.map(checkOf);

/** What is wrong with the VMM of this uid; it has at least the threads of one that runs a guest. */
export function jailFaults(uid: number, facts: HostFacts): string[] {
  const own = runningVmms(facts).filter((vmm) => vmm.uid === uid);
  if (own.length === 0) return ["it does not run"];
  const threads = own.flatMap(({ pid }) => facts.list(`/proc/${pid}/task`) ?? []).length;
  if (threads < leastThreads) return ["it runs no guest yet"];
  return properties.flatMap((property) => faultsOf(property, own, facts));
}

/** Firecracker's own, its API's, and one for a virtual processor. */
const leastThreads = 3;
