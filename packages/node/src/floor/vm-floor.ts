import { setTimeout as sleep } from "node:timers/promises";
import type { VmContext } from "../context.ts";
import { kernelTree as tree } from "./tree.ts";
import { vcpuThreads } from "./vcpu-threads.ts";
import { dropVmGroups, isFloored, isSeated, makeVmGroups, seat, startGroup } from "./vm-groups.ts";

/** What a status says of a microVM whose virtual CPUs have no cores of their own. */
const floorName = "core floor";

/** A VMM makes the threads of its virtual CPUs as soon as it has read its configuration. */
const seatMs = 5_000;

/** Takes cores for a launch. @returns the group that its launcher joins */
export function claimFloor(vm: VmContext, cpus: number): string | null {
  const { cgroup } = vm.place;
  if (cgroup === null) return null;
  const share = vm.placer.claimCpus(cpus);
  makeVmGroups(tree, cgroup, share);
  return startGroup(cgroup, share);
}

/** Gives back the cores of a microVM that does not run. Nothing that ends one fails because of them. */
export async function releaseFloor(vm: VmContext): Promise<void> {
  const { cgroup } = vm.place;
  if (cgroup === null) return;
  try {
    if (isFloored(tree, cgroup)) await dropVmGroups(tree, cgroup);
    vm.placer.releaseCpus();
  } catch (error) {
    vm.warn("cores could not be given back", error);
  }
}

/** Once, as far as its threads are there. @returns whether all virtual CPUs have their cores */
export function seatNow(vm: VmContext, pid: number): boolean {
  const { cgroup } = vm.place;
  if (cgroup === null || !isFloored(tree, cgroup)) return false;
  if (isSeated(tree, cgroup, tree.read)) return true;
  try {
    seat(tree, cgroup, vcpuThreads(pid));
  } catch (error) {
    vm.warn("a virtual CPU could not be given its core", error); // it may just have ended
  }
  return isSeated(tree, cgroup, tree.read);
}

/** Waits for the threads of a VMM that was just started. One that does not make them runs without the floor. */
export async function awaitSeats(vm: VmContext, pid: number, runs: () => boolean): Promise<void> {
  if (vm.place.cgroup === null || !isFloored(tree, vm.place.cgroup)) return;
  for (const endMs = performance.now() + seatMs; !seatNow(vm, pid); await sleep(5)) {
    if (!runs() || performance.now() > endMs) return;
  }
}

/** @param pid of the VMM that runs; undefined: what would be true of the next one */
export function floorMissing(vm: VmContext, pid: number | undefined): string[] {
  const held = vm.placer.floorHolds && (pid === undefined || seatNow(vm, pid));
  return held ? [] : [floorName];
}
