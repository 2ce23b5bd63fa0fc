import { translationCacheMib } from "./vmm/qemu/plan.ts";

/** PSS of QEMU 7.2 with the devices of `planQemu`, ten VMs at once, without guest memory and translated code. */
const vmmMib = 48;

/**
 * MiB that a VMM needs beyond its guest's memory, for admission and limits. Under emulation the cache of translated
 * code fills with time and nothing of it is given back.
 */
export const memoryOverheadMib = (memoryMib: number, accelerator: "kvm" | "tcg"): number =>
  accelerator === "kvm" ? vmmMib : vmmMib + translationCacheMib(memoryMib);
