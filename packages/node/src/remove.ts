import { rmSync } from "node:fs";
import { removeCgroup } from "./cgroup.ts";
import type { VmContext } from "./context.ts";
import { releaseFloor } from "./floor/vm-floor.ts";
import { kill } from "./kill.ts";
import { deleteNetns } from "./netns.ts";
import { dropVolumes } from "./snapshot/volume.ts";
import { removeChannelFolder } from "./sockets.ts";

/** Takes everything away but the record, which goes last: until then a repeated call knows whose it is. */
export async function remove(vm: VmContext): Promise<void> {
  await kill(vm);
  const parts = await Promise.allSettled([
    dropVolumes(vm),
    deleteNetns(vm.config.launcher, vm.place.netns).then(() => vm.afterStep("no netns")),
    removeGroup(vm),
    removeDisk(vm),
  ]);
  for (const part of parts) if (part.status === "rejected") throw part.reason;
  // Last, for what a hostile channel puts into its folder can delay nothing then.
  removeChannelFolder(vm);
  vm.afterStep("no channel folder");
}

async function removeGroup(vm: VmContext): Promise<void> {
  if (vm.place.cgroup !== null) {
    await removeCgroup(vm.place.cgroup);
    // Once more: threads that ended slowly may have kept them at the kill.
    await releaseFloor(vm);
  }
  vm.afterStep("no cgroup");
}

async function removeDisk(vm: VmContext): Promise<void> {
  for (const path of [vm.paths.disk, `${vm.paths.disk}.new`]) rmSync(path, { force: true });
  vm.afterStep("no disk");
}
