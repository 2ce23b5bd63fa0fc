import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { bad, type Check, notApplicable, ok } from "../check.ts";
import type { DoctorContext } from "../context.ts";
import type { HostFacts } from "../facts.ts";
import { shellCommand } from "../shell-word.ts";
import { jailFaults } from "./running.ts";

/** SHA-256 of the upstream project's jailer for x86_64, by version. */
const jailers: Readonly<Record<string, string>> = {
  "1.12.1": "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
};

/** A VMM is in its jail before it runs, but Firecracker takes its last filter when it begins to run its guest. */
async function settled(uid: number, facts: HostFacts, settleMs: number): Promise<string[]> {
  for (const untilMs = performance.now() + settleMs; ; await sleep(20)) {
    const faults = jailFaults(uid, facts);
    if (faults.length === 0 || performance.now() > untilMs) return faults;
  }
}

export function vmmChecks(context: DoctorContext): Check[] {
  const { firecracker, system } = context;
  const path = typeof firecracker === "object" ? firecracker.path : "/usr/local/bin/firecracker";
  const jailer = join(dirname(path), "jailer");
  return [
    {
      id: "firecracker",
      severity: { production: "fail" },
      reason: "production runs microVMs in Firecracker, in a version that this build knows or the operator vouches for",
      remedy: "put the project's release at /usr/local/bin/firecracker, or give --firecracker and --firecracker-sha256",
      command: `${shellCommand("sha256sum", path)}; ${shellCommand(path, "--version")}`,
      look() {
        if (firecracker === undefined) return bad("there is no Firecracker in /usr/local/bin or /usr/bin");
        if (typeof firecracker === "string") return bad(firecracker);
        return ok(`${firecracker.version} at ${path}, SHA-256 ${firecracker.sha256}`);
      },
    },
    {
      id: "jailer",
      severity: { production: "warn" },
      reason: "Firecracker's guide asks for its jailer or a jail as strict: exai-launcher makes the jail of every VMM",
      remedy: "nothing: the check 'launcher' has the digest of what makes the jail",
      command: shellCommand("sha256sum", jailer, system.launcher),
      async look(facts) {
        const sha256 = await facts.digest(jailer);
        if (sha256 === undefined) return notApplicable("there is no jailer beside Firecracker, and none is used");
        // Not executed to ask for its version: nothing vouches for it.
        const version = Object.keys(jailers).find((each) => jailers[each] === sha256) ?? "of a version not known here";
        return notApplicable(`${jailer} is ${version}, SHA-256 ${sha256}; it is not used`);
      },
    },
    {
      id: "vmm-probe",
      severity: { production: "fail" },
      reason: "the jail of a VMM is made of what this kernel offers: only one that runs proves that it holds here",
      remedy: "mend the checks above that fail; if none does, report this",
      command:
        "grep -E 'Seccomp:|^Uid|NoNewPrivs|CapEff' /proc/$(pgrep -n firecracker)/status   # while a microVM runs",
      async look(facts) {
        const { probeVmm } = context;
        if (probeVmm === undefined) return notApplicable("there is no Firecracker, or no kernel of ours, to start one");
        if (!(await context.probeKvm()).works) return notApplicable("KVM does not work, so none can be started");
        const faults = await probeVmm((uid) => settled(uid, facts, context.settleMs));
        if (faults.length > 0) return bad(faults.slice(0, 5).join("; "));
        return ok("one was started: filters, uid, rights, limits, cgroup and network are those of its jail");
      },
    },
  ];
}
