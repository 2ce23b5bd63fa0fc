import { cgroupLimits } from "../doctor/cgroup-limits.ts";

/** What this build does not protect, in words for `exai status`; SECURITY.md says more on each. */
export function notProtected(accelerator: "kvm" | "tcg", limits = cgroupLimits()): string[] {
  return [
    "disks are not encrypted yet: whoever reads this host's disk reads workspaces",
    "guests have no network: a policy that allows some does not exist yet",
    "no core is guaranteed: microVMs share this host's processors",
    ...(limits.ok ? [] : [`a microVM may use more memory, CPU and processes than it was given – ${limits.found}`]),
    "root on this host can read the memory of every microVM",
    ...(accelerator === "tcg"
      ? ["emulation: development only – QEMU does not hold its emulator to be a security boundary"]
      : []),
  ];
}
