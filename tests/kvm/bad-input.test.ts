// nested-host: always
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { imageStorePaths } from "@exai/api/host";
import { type BootFiles, planFirecracker } from "@exai/machine";
import { bootFilesOf } from "@exai/machine/image";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { firecrackerFolder } from "../../tools/nested-host/firecracker.ts";
import { describeFullDisk } from "../support/full-disk.ts";
import { type MachineDriver, machineDriver } from "../support/machine-driver.ts";
import { firecrackerDriver } from "./machine-kvm.ts";
import { builtImage } from "./where.ts";

/** Kernels that Firecracker can't boot to our agent: it ends, or hangs, and what was made for it goes. */
describe("a kernel without what is needed", () => {
  let driver: MachineDriver;
  let files: BootFiles;
  const firecracker = join(firecrackerFolder(), "firecracker");

  /** In a store of the test's own. */
  const put = (content: Buffer | string): string => {
    const bytes = typeof content === "string" ? readFileSync(content) : content;
    const digest = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(driver.host.config.imageStore, imageStorePaths.blob(digest)), bytes);
    return digest;
  };

  beforeAll(async () => {
    driver = machineDriver({ config: { firecracker }, plan: (size) => planFirecracker(files, size) });
    const { manifest, initramfs } = builtImage("base");
    files = { ...bootFilesOf(manifest), initramfs: put(initramfs), rootfs: put(Buffer.alloc(1 << 20)) };
  });
  afterAll(() => driver?.[Symbol.asyncDispose]());

  it("that is cut off ends at once, with Firecracker's reason in the VMM's log", async () => {
    files = { ...files, kernel: put(readFileSync(builtImage("base").kernel).subarray(0, 1 << 20)) };
    const vm = await driver.launch({ cpus: 1, memoryMib: 128, diskMib: 64 });
    const exit = await vm.machine.awaitExit(60_000);
    const log = readFileSync(join(vm.folder, "vmm.log"), "utf8");
    const leftovers = await vm.machine.destroy().then(() => driver.leftovers());
    expect(exit?.code).toBeGreaterThan(0);
    expect(log).toMatch(/kernel/i);
    expect(leftovers).toEqual([]);
  });

  it("that is a header and rubbish ends or hangs, and goes when it is destroyed", async () => {
    const header = readFileSync(builtImage("base").kernel).subarray(0, 64);
    files = { ...files, kernel: put(Buffer.concat([header, Buffer.alloc(1 << 20, 0xee)])) };
    const vm = await driver.launch({ cpus: 1, memoryMib: 128, diskMib: 64 });
    await vm.machine.awaitExit(5_000);
    expect(await vm.console()).not.toContain("ready");
    await vm.machine.destroy();
    expect(await driver.leftovers()).toEqual([]);
  });

  it("that has no driver for the channel never says ready, and goes when it is destroyed", async () => {
    files = { ...files, kernel: put(builtImage("base-stock").kernel) };
    const vm = await driver.launch({ cpus: 1, memoryMib: 256, diskMib: 64 });
    const said = await Promise.race([
      vm.machine.awaitExit(120_000).then((exit) => (exit === undefined ? "hangs" : "ended")),
      vm.dial().then(
        () => "ready",
        () => "no answer",
      ),
    ]);
    expect(said).not.toBe("ready");
    expect(await vm.console()).not.toContain("exai-guest: ready");
    await vm.machine.destroy();
    expect(await driver.leftovers()).toEqual([]);
  });
});

it("an executable that is no Firecracker is told, and nothing is left", async () => {
  const image = builtImage("base");
  const driver = machineDriver({
    config: { imageStore: join(image.kernel, "../../.."), firecracker: "/usr/bin/false" },
    plan: (size) => planFirecracker(bootFilesOf(image.manifest), size),
  });
  const vm = await driver.launch({ cpus: 1, memoryMib: 128, diskMib: 64 }).catch((error: unknown) => error);
  // A dynamic program finds no library in this jail.
  expect(vm).toMatchObject({ code: "host", cause: { code: "launch-failed" } });
  expect(await driver.leftovers()).toEqual([]);
  await driver[Symbol.asyncDispose]();
});

describeFullDisk("Firecracker", firecrackerDriver);
