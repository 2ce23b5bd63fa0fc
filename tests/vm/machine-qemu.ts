import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostTscKhz, loadImage, planQemu, resolveImageName } from "@exai/machine";
import { type MachineDriver, machineDriver } from "../support/machine-driver.ts";
import { imageStore, releaseKeys } from "./machine-images.ts";

/** Emulated QEMU. */
export async function qemuDriver(name: string): Promise<MachineDriver> {
  const image = await loadImage(imageStore, await resolveImageName(imageStore, name), releaseKeys());
  const folder = mkdtempSync(join(tmpdir(), "exai-tsc-"));
  const tscKhz = await hostTscKhz({ memoryFile: join(folder, "tsc") }).finally(() =>
    rmSync(folder, { recursive: true }),
  );
  return machineDriver({ config: { imageStore }, plan: (size) => planQemu(image, size, { kind: "tcg", tscKhz }) });
}
