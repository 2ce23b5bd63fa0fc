import { execFileSync } from "node:child_process";
import { closeSync, openSync, readFileSync, readSync, statSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { sh } from "../../packages/machine/src/contract/guest.ts";
import type { MachineDriver } from "../support/machine-driver.ts";
import { firecrackerDriver } from "./machine-kvm.ts";

/**
 * A guest's memory never meets a disk in the clear: the raw disks of the host are read from end to end after a save and a
 * load. It runs in a host of its own, so that there are disks that may be read.
 */
const small = { cpus: 1, memoryMib: 128, diskMib: 64 };
let driver: MachineDriver;
beforeAll(async () => {
  driver = await firecrackerDriver();
});
afterAll(() => driver?.[Symbol.asyncDispose]());

/** Made where it is used, from parts that stand nowhere together: not in this file, not in an argument. */
const pattern = (number: number): Buffer => Buffer.from(["exai", "memory", "pattern", `${number}`].join("-#-"));

/** Block devices of this host, but none of memory and none that is empty. */
const disks = (): string[] =>
  readFileSync("/proc/partitions", "utf8")
    .split("\n")
    .slice(2, -1)
    .map((line) => line.trim().split(/ +/)[3] ?? "")
    .filter((name) => /^[a-z]+$/.test(name) && !/^(ram|loop|zram)/.test(name))
    .map((name) => `/dev/${name}`);

function holds(path: string, wanted: Buffer): boolean {
  const fd = openSync(path, "r");
  const size = 4 << 20;
  const buffer = Buffer.alloc(size + wanted.length);
  try {
    for (let at = 0, kept = 0; ; ) {
      const count = readSync(fd, buffer, kept, size, at);
      if (count === 0) return false;
      const filled = kept + count;
      if (buffer.subarray(0, filled).includes(wanted)) return true;
      at += count;
      // The end again, where a pattern may have been cut.
      kept = Math.min(filled, wanted.length - 1);
      buffer.copy(buffer, 0, filled - kept, filled);
    }
  } finally {
    closeSync(fd);
  }
}

/** Through to the disk, and read from there and not from what the kernel still holds of it. */
function settle(): void {
  execFileSync("sync");
  writeFileSync("/proc/sys/vm/drop_caches", "3");
}

it("there are disks to look at, the VMs' own among them, and nothing is swapped to", () => {
  expect(disks().length).toBeGreaterThanOrEqual(2);
  const { dev } = statSync(driver.host.config.vmsFolder, { bigint: false });
  expect(disks().map((disk) => statSync(disk).rdev)).toContain(dev);
  expect(readFileSync("/proc/swaps", "utf8").trim().split("\n")).toHaveLength(1);
});

it("what a guest holds in memory is in its snapshot, and on no disk", { timeout: 600_000 }, async () => {
  const source = await driver.launch(small);
  using guest = await source.dial();
  source.machine.ready();
  // In the guest's memory alone: tmpfs, and the memory of a program that waits.
  const make = "p=exai; for part in memory pattern 1; do p=$p-#-$part; done";
  await sh(
    guest,
    `${make}; mkdir -p /dev/shm; i=0; while [ $i -lt 200 ]; do echo $p; i=$((i+1)); done > /dev/shm/held`,
  );
  // The control: what a guest writes to its disk is found there.
  await sh(guest, `${make.replace("pattern 1", "pattern 2")}; echo $p > /root/written; sync`);
  await source.machine.pause(guest);
  const ref = await source.machine.save();
  const { files } = driver.saved(ref);
  expect(files.some((file) => holds(file, pattern(1)))).toBe(true);
  const clone = await driver.load(small, ref);
  using again = await clone.dial();
  clone.machine.ready();
  expect((await sh(again, "tail -n 1 /dev/shm/held")).stdout.trim()).toBe(pattern(1).toString());
  settle();
  const found = (number: number): string[] => disks().filter((disk) => holds(disk, pattern(number)));
  expect(found(2).length).toBeGreaterThan(0);
  expect(found(1)).toEqual([]);
  await source.machine.destroy();
  await clone.machine.destroy();
  settle();
  expect(found(1)).toEqual([]);
});
