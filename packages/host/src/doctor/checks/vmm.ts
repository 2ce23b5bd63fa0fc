import { dirname, join } from "node:path";
import { bad, type Check, notApplicable, ok } from "../check.ts";
import type { DoctorContext } from "../context.ts";
import { shellCommand } from "../shell-word.ts";

/** SHA-256 of the upstream project's jailer for x86_64, by version. */
const jailers: Readonly<Record<string, string>> = {
  "1.12.1": "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
};

export function vmmChecks({ firecracker, system }: DoctorContext): Check[] {
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
  ];
}
