/** What this build does not protect, in words for `exai status`; SECURITY.md says more on each. */
export function notProtected(accelerator: "kvm" | "tcg"): string[] {
  return [
    "disks are not encrypted yet: whoever reads this host's disk reads workspaces",
    "guests have no network: a policy that allows some does not exist yet",
    "root on this host can read the memory of every microVM",
    ...(accelerator === "tcg"
      ? ["emulation: development only – QEMU does not hold its emulator to be a security boundary"]
      : []),
  ];
}
