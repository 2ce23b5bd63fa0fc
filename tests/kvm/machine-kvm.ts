import { planFirecracker, planQemu } from "@exai/machine";
import { firecrackerFolder } from "../../tools/nested-host/firecracker.ts";
import type { HostileHost } from "../support/hostile-guest.ts";
import { type MachineDriver, machineDriver } from "../support/machine-driver.ts";
import { bootFiles, imageStore } from "./where.ts";

/** Firecracker as the product runs it, under KVM. */
export const firecrackerDriver = async (): Promise<MachineDriver> => {
  const image = bootFiles("base");
  const firecracker = `${firecrackerFolder()}/firecracker`;
  return machineDriver({ config: { imageStore, firecracker }, plan: (size) => planFirecracker(image, size) });
};

/** The same for guests of other kernels. */
export const firecrackerHost = async (): Promise<HostileHost> => ({
  driver: await firecrackerDriver(),
  image: bootFiles("base"),
  plan: planFirecracker,
});

/** QEMU under KVM. */
export const qemuKvmDriver = async (): Promise<MachineDriver> => {
  const image = bootFiles("base");
  return machineDriver({ config: { imageStore }, plan: (size) => planQemu(image, size, { kind: "kvm" }) });
};
