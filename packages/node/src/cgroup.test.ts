import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cgroup2Mount, limitCgroup, makeCgroup, notEnforced } from "./cgroup.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "exai-cgroup-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test("the mount of v2 is found beside those of v1", () => {
  const lines = [
    "25 20 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755",
    "27 25 0:24 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory",
    "36 25 0:33 / /sys/fs/cgroup/unified rw,relatime shared:10 master:1 - cgroup2 cgroup2 rw",
  ];
  expect(cgroup2Mount(lines.join("\n"))).toBe("/sys/fs/cgroup/unified");
  expect(cgroup2Mount(lines.slice(0, 2).join("\n"))).toBeUndefined();
});

/** A fake: plain files with the names that cgroup v2 gives them, for a kernel whose controllers are on v1. */
function fakeGroup(controllers: string, files: readonly string[]): string {
  const folder = join(root, "exai-aaaaaaaa", "vm");
  mkdirSync(folder, { recursive: true });
  for (const parent of [root, join(root, "exai-aaaaaaaa")]) {
    writeFileSync(join(parent, "cgroup.controllers"), `${controllers}\n`);
    writeFileSync(join(parent, "cgroup.subtree_control"), "");
  }
  for (const file of files) writeFileSync(join(folder, file), "max\n");
  return folder;
}

test("limits are written where the kernel offers them", () => {
  const folder = fakeGroup("cpu memory pids", [
    "memory.max",
    "memory.swap.max",
    "memory.oom.group",
    "cpu.max",
    "pids.max",
  ]);
  const weight = join(folder, "..", "cpu.weight");
  writeFileSync(weight, "100\n");
  makeCgroup(folder);
  expect(readFileSync(weight, "utf8")).toBe("20");
  writeFileSync(weight, "300\n");
  makeCgroup(folder);
  expect(readFileSync(weight, "utf8")).toBe("300\n");
  limitCgroup(folder, { memoryBytes: 1 << 28, cpus: 2, pids: 130 });
  const read = (file: string) => readFileSync(join(folder, file), "utf8");
  expect(["memory.max", "memory.swap.max", "cpu.max", "pids.max"].map(read)).toEqual([
    "268435456",
    "0",
    "250000 100000",
    "130",
  ]);
  expect(notEnforced(folder)).toEqual([]);
});

test("what the kernel does not offer is told, and not made", () => {
  const folder = fakeGroup("", []);
  makeCgroup(folder);
  limitCgroup(folder, { memoryBytes: 1 << 28, cpus: 2, pids: 130 });
  expect(notEnforced(folder)).toEqual(["memory limit", "cpu limit"]);
  expect(notEnforced(null)).toEqual(["memory limit", "cpu limit"]);
});
