import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { childrenCpuMs, cpuMs } from "./cpu-time.ts";

test("CPU time of children is read from behind a name that looks like fields", () => {
  const fields = Array.from({ length: 50 }, (_, at) => String(at + 3)); // the third field of proc(5) has the value 3
  expect(childrenCpuMs(`7 (a) b (1 2 3) ${fields.join(" ")}`)).toBe((16 + 17) * 10);
});

test("CPU time of a control group is its usage, and nothing where there is no group", () => {
  const folder = mkdtempSync(join(tmpdir(), "exai-cpu-"));
  try {
    writeFileSync(join(folder, "cpu.stat"), "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\n");
    expect(cpuMs(folder)).toBe(1234.567);
    expect(cpuMs(join(folder, "missing"))).toBe(0);
    writeFileSync(join(folder, "cpu.stat"), "nothing\n");
    expect(() => cpuMs(folder)).toThrow("says no CPU time");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
