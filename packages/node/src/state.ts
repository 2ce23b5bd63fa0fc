import type { VmStatus } from "@exai/api/host";
import { notEnforced } from "./cgroup.ts";
import type { VmContext } from "./context.ts";
import { floorMissing } from "./floor/vm-floor.ts";
import { bootId, isAlive, type ProcessIdentity } from "./process.ts";
import { type LaunchRecord, readLaunch, readStatus, type StatusRecord } from "./records.ts";
import { volumesMib } from "./snapshot/volumes.ts";

export type VmState =
  | { readonly kind: "prepared" }
  | {
      readonly kind: "running";
      readonly launch: LaunchRecord;
      readonly vmm: ProcessIdentity;
      readonly keeper: ProcessIdentity;
    }
  | {
      readonly kind: "exited";
      readonly launch: LaunchRecord;
      readonly exit: StatusRecord["exit"];
      /** The launcher may still be about to end. */
      readonly keeper: ProcessIdentity | undefined;
    };

/** From what is on disk and in /proc, never from memory: so a new agent adopts what an older one started. */
export function inspect(vm: VmContext): VmState {
  const launch = readLaunch(vm.paths.launch);
  const status = readStatus(vm.paths.status);
  // A status of another launch, or none: the launcher never came as far as a VMM.
  if (launch === undefined || status === undefined || status.started.tag !== launch.lifetime)
    return { kind: "prepared" };
  const { pid, startTime, launcherPid, launcherStartTime } = status.started;
  const vmm = { pid, startTime };
  const keeper = { pid: launcherPid, startTime: launcherStartTime };
  const sameBoot = launch.bootId === bootId();
  const keeperLives = sameBoot && isAlive(keeper);
  // Between the VMM's end and the launcher's line about it, it counts as running: the exit is known in a moment.
  if (status.exit === undefined && sameBoot && (isAlive(vmm) || keeperLives)) {
    return { kind: "running", launch, vmm, keeper };
  }
  return { kind: "exited", launch, exit: status.exit, keeper: keeperLives ? keeper : undefined };
}

export function statusOf(vm: VmContext, state: VmState = inspect(vm)): VmStatus {
  const missing = [
    ...notEnforced(vm.place.cgroup),
    ...floorMissing(vm, state.kind === "running" ? state.vmm.pid : undefined),
  ];
  const volumes = volumesMib(vm);
  const common = {
    ...{ workspace: vm.workspace, uid: vm.record.uid, notEnforced: missing },
    ...(volumes === 0 ? {} : { volumesMib: volumes }),
  };
  switch (state.kind) {
    case "prepared":
      return { ...common, state: "prepared" };
    case "running":
      return { ...common, state: "running", lifetime: state.launch.lifetime, pid: state.vmm.pid };
    case "exited":
      return {
        ...common,
        state: "exited",
        lifetime: state.launch.lifetime,
        ...(state.exit === undefined ? {} : { exit: state.exit }),
      };
  }
}
