import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BootFiles, hostTscKhz, loadImage, type MachineSize, planQemu, resolveImageName } from "@exai/machine";
import type { HostileHost } from "../support/hostile-guest.ts";
import { type MachineDriver, machineDriver } from "../support/machine-driver.ts";
import { imageStore, releaseKeys } from "./machine-images.ts";

/** Emulated QEMU. */
export const qemuDriver = async (name: string): Promise<MachineDriver> => (await qemuHost(name)).driver;

/** The same for guests of other kernels. */
export async function qemuHost(name: string): Promise<HostileHost> {
  const image = await loadImage(imageStore, await resolveImageName(imageStore, name), releaseKeys());
  const folder = mkdtempSync(join(tmpdir(), "exai-tsc-"));
  const tscKhz = await hostTscKhz({ memoryFile: join(folder, "tsc") }).finally(() =>
    rmSync(folder, { recursive: true }),
  );
  const plan = (of: BootFiles, size: MachineSize) => planQemu(of, size, { kind: "tcg", tscKhz });
  return { driver: machineDriver({ config: { imageStore }, plan: (size) => plan(image, size) }), image, plan };
}
