import { makeCgroup } from "./cgroup.ts";
import type { VmContext } from "./context.ts";
import { makeDisk } from "./disk.ts";
import { isThere, syncAll } from "./files.ts";
import { addNetns, hasNetns } from "./netns.ts";

/** Everything that a VMM needs to exist. Each part looks first what is there, so a repeated call finishes a broken one. */
export async function prepare(vm: VmContext): Promise<void> {
  vm.afterStep("claim");
  // To the end, also when one part fails: nothing of a refused call may still be at work when it is repeated.
  const parts = await Promise.allSettled([
    addNetns(vm.config.launcher, vm.place.netns).then(() => vm.afterStep("netns")),
    makeDisk(vm.paths.disk, vm.record).then(() => vm.afterStep("disk")),
    makeGroup(vm),
    syncAll([vm.paths.tenant, vm.config.vmsFolder]),
  ]);
  for (const part of parts) if (part.status === "rejected") throw part.reason;
  await syncAll([vm.paths.folder]); // record and disk have their names now
}

async function makeGroup(vm: VmContext): Promise<void> {
  if (vm.place.cgroup !== null) makeCgroup(vm.place.cgroup);
  vm.afterStep("cgroup");
}

/** False also after a reboot, which takes namespaces and cgroups. */
export const isPrepared = (vm: VmContext): boolean =>
  isThere(vm.paths.disk) && hasNetns(vm.place.netns) && (vm.place.cgroup === null || isThere(vm.place.cgroup));
