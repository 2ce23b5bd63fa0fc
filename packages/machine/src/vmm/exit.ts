import type { LaunchRequest } from "@exai/api/host";
import type { MachineExit } from "../lifecycle.ts";

/** Firecracker ends with these when a signal would have ended it (`FcExitCode` in src/vmm/src/lib.rs of 1.12). */
const firecrackerCodes: Readonly<Record<number, string>> = {
  148: "it made a system call that its filter forbids",
  149: "bus error",
  150: "segmentation fault",
  151: "it wrote more than it may",
  154: "it used more processor time than it may",
  155: "broken pipe",
  156: "hang-up",
  157: "illegal instruction",
  152: "its configuration is wrong",
  153: "its arguments are wrong",
};

/** signal(7). 9 is also what a host out of memory does. */
const signals: Readonly<Record<number, string>> = {
  4: "illegal instruction",
  6: "it gave up",
  7: "bus error",
  9: "killed; out of memory, or by somebody",
  11: "segmentation fault",
  25: "it wrote more than it may",
  31: "it made a system call that its filter forbids",
};

/** Why a VMM ended that should not have, in words of our own: nothing that it said itself. */
export function exitReason(vmm: LaunchRequest["vmm"], { code, signal }: MachineExit): string {
  if (signal !== undefined) return `the VMM died of signal ${signal}: ${signals[signal] ?? "of another kind"}`;
  if (code === undefined) return "the VMM died together with its launcher";
  const known = vmm === "firecracker" ? firecrackerCodes[code] : undefined;
  return known === undefined ? `the VMM ended with ${code}` : `the VMM died (${code}): ${known}`;
}
