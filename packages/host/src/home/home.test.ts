import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openHome } from "./home.ts";
import { claimUidRange, releaseUidRange } from "./uid-range.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-home-"));
  chmodSync(folder, 0o711);
});
afterEach(() => {
  releaseUidRange(join(folder, "home"));
  rmSync(folder, { recursive: true, force: true });
});

describe("home", () => {
  it("is made once, with folders that only their owners open", () => {
    const home = openHome(join(folder, "home"), 0);
    expect(openHome(join(folder, "home"), 1).stack).toBe(home.stack);
    expect(statSync(home.paths.journal).mode & 0o777).toBe(0o700);
    expect(statSync(home.paths.journal).uid).toBe(home.uidBase + 2);
    expect(statSync(home.paths.clients).mode & 0o777).toBe(0o700);
  });

  it("refuses a folder of a newer version and leaves it as it is", () => {
    const home = openHome(join(folder, "home"), 0);
    writeFileSync(home.paths.homeFile, `{"version":2,"other":true}`);
    expect(() => openHome(join(folder, "home"), 0)).toThrow(/newer exai \(format 2, this one knows 1\)/);
    expect(readFileSync(home.paths.homeFile, "utf8")).toContain("other");
  });

  it("refuses a place that its processes could not enter", () => {
    chmodSync(folder, 0o700);
    expect(() => openHome(join(folder, "home"), 0)).toThrow(/which only its owner enters/);
  });

  it("refuses a damaged one", () => {
    const home = openHome(join(folder, "home"), 0);
    writeFileSync(home.paths.homeFile, "{");
    expect(() => openHome(join(folder, "home"), 0)).toThrow(/can't be read/);
  });
});

describe("uid ranges", () => {
  it("never overlap, and the range of a home that is gone is the last to be given away", () => {
    const registry = join(folder, "registry");
    const homes = ["a", "b"].map((name) => join(folder, name));
    for (const home of homes) openHome(home, 0); // claims in the real registry too
    const [a, b] = homes.map((home) => claimUidRange(home, registry));
    expect(Math.abs((a ?? 0) - (b ?? 0))).toBeGreaterThanOrEqual(65_536);
    expect(claimUidRange(homes[0] ?? "", registry)).toBe(a);
    for (const home of homes) releaseUidRange(home);
    rmSync(homes[0] ?? "", { recursive: true });
    expect([a, b]).not.toContain(claimUidRange(join(folder, "c"), registry));
    expect(existsSync(registry)).toBe(true);
  });
});
