import type { FloorState } from "@exai/api/host";
import { cgroupLimits } from "../doctor/cgroup-limits.ts";

/** What this build does not protect, in words for `exai status`; SECURITY.md says more on each. */
export function notProtected(
  accelerator: "kvm" | "tcg",
  floor: FloorState | undefined,
  limits = cgroupLimits(),
): string[] {
  return [
    "disks are not encrypted yet: whoever reads this host's disk reads workspaces",
    "guests have no network: a policy that allows some does not exist yet",
    ...(floor?.enforced === true
      ? []
      : [
          `floor not enforced: a virtual CPU has no core of its own – ${floor?.why ?? "the node agent does not answer"}`,
        ]),
    ...(limits.ok ? [] : [`a microVM may use more memory, CPU and processes than it was given – ${limits.found}`]),
    "root on this host can read the memory of every microVM",
    ...(accelerator === "tcg"
      ? ["emulation: development only – QEMU does not hold its emulator to be a security boundary"]
      : []),
  ];
}
