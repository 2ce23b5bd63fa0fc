import {
  chmodSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { stampOf } from "./stamp.ts";

const folder = mkdtempSync(join(tmpdir(), "exai-stamp-"));
afterAll(() => rmSync(folder, { recursive: true }));

const touches: Record<string, (file: string) => void> = {
  "a write of the same bytes": (file) => writeFileSync(file, "content", { flag: "r+" }),
  "a write of others": (file) => writeFileSync(file, "Content", { flag: "r+" }),
  "a shorter one": (file) => truncateSync(file, 3),
  "another file in its place": (file) => {
    writeFileSync(`${file}.new`, "content");
    renameSync(`${file}.new`, file);
  },
  "another mode": (file) => chmodSync(file, 0o600),
  // Who writes and then sets the time back to what it was.
  "a time that was set": (file) => utimesSync(file, 1, 1),
};
test.each(Object.keys(touches))("%s shows", async (name) => {
  const file = join(folder, "file");
  writeFileSync(file, "content", { mode: 0o644 });
  const before = stampOf(file);
  // Coarser than a nanosecond: the kernel's clock for files ticks some hundred times a second.
  await sleep(20);
  touches[name]?.(file);
  expect(stampOf(file)).not.toBe(before);
});

test("to read is no change, and what is not there has none", async () => {
  const file = join(folder, "read");
  writeFileSync(file, "content");
  const before = stampOf(file);
  await sleep(20);
  readFileSync(file);
  expect(stampOf(file)).toBe(before);
  expect(stampOf(join(folder, "none"))).toBeUndefined();
});
