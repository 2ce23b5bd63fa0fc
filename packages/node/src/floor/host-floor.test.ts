import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { fakeSysfs } from "./fake-tree.fixture.ts";
import { hostFloor } from "./host-floor.ts";

test("a try whose process was killed is taken away, one that is under way is not", () => {
  const mount = mkdtempSync(join(tmpdir(), "exai-floor-"));
  try {
    // No process has a pid above the kernel's greatest, 2^22.
    const [killed, running] = [`exai-check-${2 ** 22 + 1}-try`, `exai-check-${process.pid}-try`];
    for (const name of [killed, running, "exai-check-1-other"]) mkdirSync(join(mount, name));
    expect(hostFloor(mount)).toMatchObject({ enforced: false });
    expect([killed, running, "exai-check-1-other"].map((name) => existsSync(join(mount, name)))).toEqual([
      false,
      true,
      true,
    ]);
  } finally {
    rmSync(mount, { recursive: true });
  }
});

test("of a stack that runs, cores are counted, not the CPUs in them", () => {
  const mount = mkdtempSync(join(tmpdir(), "exai-floor-"));
  try {
    const group = join(mount, "exai-abcdefgh");
    mkdirSync(group);
    writeFileSync(join(group, "cpuset.cpus.partition"), "root\n");
    writeFileSync(join(group, "cpuset.cpus.effective"), "0-1,4-5\n");
    expect(hostFloor(mount, fakeSysfs({ cores: 4, threads: 2 }))).toMatchObject({ enforced: true, cores: 2 });
  } finally {
    rmSync(mount, { recursive: true });
  }
});
