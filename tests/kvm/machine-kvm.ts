import { type MachineSize, planFirecracker, planQemu } from "@exai/machine";
import { firecrackerFolder } from "../../tools/nested-host/firecracker.ts";
import type { HostileHost } from "../support/hostile-guest.ts";
import { type MachineDriver, machineDriver } from "../support/machine-driver.ts";
import { bootFiles, imageStore } from "./where.ts";

/** Firecracker as the product runs it, under KVM: what a host is told of it, and how one is planned. */
export function firecrackerPlan() {
  const image = bootFiles("base");
  const config = { imageStore, firecracker: `${firecrackerFolder()}/firecracker` };
  return { config, plan: (size: MachineSize) => planFirecracker(image, size) };
}

export const firecrackerDriver = async (): Promise<MachineDriver> => machineDriver(firecrackerPlan());

/** One that is told to be larger than the node agent was told. */
export const hostileFirecrackerDriver = async (machine: Record<string, number>): Promise<MachineDriver> => {
  const { config, plan } = firecrackerPlan();
  const larger = (size: MachineSize) => {
    const honest = plan(size);
    const told = JSON.parse(honest.config ?? "");
    Object.assign(told["machine-config"], machine);
    return { ...honest, config: JSON.stringify(told) };
  };
  return machineDriver({ config, plan: larger });
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
