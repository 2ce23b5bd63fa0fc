import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
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
