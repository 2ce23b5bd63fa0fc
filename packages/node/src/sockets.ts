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
  inTheirs(vm, vm.paths.channelFolder(vm.tenant), (parent) => {
    using folder = parent.enterIfFolder(vm.workspace);
    folder?.remove("guest.sock");
  });
  removeMonitor(vm);
}

export function removeChannelFolder(vm: VmContext): void {
  inTheirs(vm, vm.paths.channelFolder(vm.tenant), (parent) => parent.remove(vm.workspace));
  removeMonitor(vm);
}

const removeMonitor = (vm: VmContext): void =>
  inTheirs(vm, vm.paths.monitorFolder(vm.tenant), (folder) => folder.remove(`${vm.workspace}.qmp`));

/** Whatever a folder's owner does in it, a kill and a removal come to their end: it keeps its own rubbish. */
function inTheirs(vm: VmContext, folder: string, work: (anchor: Anchor) => void): void {
  try {
    using anchor = ifThere(() => Anchor.open(folder));
    if (anchor !== undefined) work(anchor);
  } catch (error) {
    vm.warn("a folder of somebody else's could not be tidied", error);
  }
}
