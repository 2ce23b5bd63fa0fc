// nested-host: always
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

/** Which of the patterns are in a file or on a disk, read once from end to end. */
function heldBy(path: string, wanted: readonly Buffer[]): Set<Buffer> {
  const fd = openSync(path, "r");
  const found = new Set<Buffer>();
  const longest = Math.max(...wanted.map((each) => each.length));
  const buffer = Buffer.alloc(pieceBytes + longest);
  try {
    for (let at = 0, kept = 0; ; ) {
      const count = readSync(fd, buffer, kept, pieceBytes, at);
      if (count === 0) return found;
      const filled = buffer.subarray(0, kept + count);
      for (const each of wanted) if (filled.includes(each)) found.add(each);
      at += count;
      // The end again, where a pattern may have been cut.
      kept = Math.min(filled.length, longest - 1);
      filled.copy(buffer, 0, filled.length - kept);
    }
  } finally {
    closeSync(fd);
  }
}
const pieceBytes = 4 << 20;
/** Held in memory, written to the guest's disk. */
const [held, written] = [pattern(1), pattern(2)];
const onDisks = (): Set<Buffer> => new Set(disks().flatMap((disk) => [...heldBy(disk, [held, written])]));

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
  expect(files.some((file) => heldBy(file, [held]).has(held))).toBe(true);
  const clone = await driver.load(small, ref);
  using again = await clone.dial();
  clone.machine.ready();
  expect((await sh(again, "tail -n 1 /dev/shm/held")).stdout.trim()).toBe(held.toString());
  settle();
  expect([...onDisks()]).toEqual([written]);
  await source.machine.destroy();
  await clone.machine.destroy();
  settle();
  expect(onDisks()).not.toContain(held);
});
