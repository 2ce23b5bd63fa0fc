import { doctorCheckIds } from "@exai/api/host";
import type { Check } from "./check.ts";
import { cgroupChecks } from "./checks/cgroup.ts";
import { clockChecks } from "./checks/clock.ts";
import { cpuFloor } from "./checks/cpu-floor.ts";
import { ebpfChecks } from "./checks/ebpf.ts";
import { entropyChecks } from "./checks/entropy.ts";
import { guestChecks } from "./checks/images.ts";
import { kernelChecks } from "./checks/kernel.ts";
import { kvmChecks } from "./checks/kvm.ts";
import { limitsChecks } from "./checks/limits.ts";
import { machineChecks } from "./checks/machine.ts";
import { memoryChecks } from "./checks/memory.ts";
import { processorChecks } from "./checks/processor.ts";
import { runningChecks } from "./checks/running.ts";
import { vmmChecks } from "./checks/vmm.ts";
import type { DoctorContext } from "./context.ts";
import { requirementChecks } from "./requirements.ts";

/** Every check of a host, in the order of their ids: what `exai doctor` shows, and what `exai up --production` asks. */
export function allChecks(context: DoctorContext): Check[] {
  const all = [
    ...requirementChecks(context.imageStore, context.system),
    ...machineChecks(context),
    ...limitsChecks,
    ...cgroupChecks,
    cpuFloor(context),
    ...kernelChecks,
    ...processorChecks,
    ...memoryChecks,
    ...kvmChecks(context),
    ...vmmChecks(context),
    ...runningChecks,
    ...guestChecks(context),
    ...clockChecks,
    ...entropyChecks,
    ...ebpfChecks,
  ];
  return doctorCheckIds.flatMap((id) => all.filter((each) => each.id === id));
}
