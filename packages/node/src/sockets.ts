import { Anchor } from "./anchor.ts";
import type { VmContext } from "./context.ts";
import { ifThere } from "./files.ts";

/** Where the launcher puts the channel's socket and the console; both folders belong to the channel. */
export function makeChannelFolder(vm: VmContext): void {
  using parent = Anchor.open(vm.paths.channelFolder(vm.tenant));
  parent.makeFolder(vm.workspace, vm.channel, 0o700);
}

/** `guest.sock` says that a VM runs: it goes when the VM does. The console stays until the workspace goes. */
export function removeSockets(vm: VmContext): void {
  ifThere(() => {
    using parent = Anchor.open(vm.paths.channelFolder(vm.tenant));
    using folder = parent.enterIfFolder(vm.workspace);
    folder?.remove("guest.sock");
  });
  removeMonitor(vm);
}

export function removeChannelFolder(vm: VmContext): void {
  ifThere(() => {
    using parent = Anchor.open(vm.paths.channelFolder(vm.tenant));
    parent.remove(vm.workspace);
  });
  removeMonitor(vm);
}

function removeMonitor(vm: VmContext): void {
  ifThere(() => {
    using folder = Anchor.open(vm.paths.monitorFolder(vm.tenant));
    folder.remove(`${vm.workspace}.qmp`);
  });
}
