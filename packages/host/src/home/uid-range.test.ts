import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { claimUidRange, releaseUidRange, uidRanges } from "./uid-range.ts";

let root: string;
let registry: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "exai-uids-"));
  registry = join(root, "registry");
});
afterEach(() => rmSync(root, { recursive: true }));

function home(name: string): string {
  const path = join(root, name);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, "home.json"), "{}");
  return path;
}

/** Every range is some home's that exists. */
function full(): void {
  mkdirSync(registry);
  for (let n = 0; n < 256; n++) symlinkSync(home("other"), join(registry, String(n)));
}

test("when all ranges are taken it is told in one sentence, and no claim is changed", () => {
  full();
  const claims = () => readdirSync(registry).map((name) => `${name} ${readlinkSync(join(registry, name))}`);
  const before = claims();
  expect(() => claimUidRange(home("late"), registry)).toThrow(
    /^all 256 ranges of user ids are taken; remove stale links/,
  );
  expect(claims()).toEqual(before);
});

test("a home keeps its range, the claim of one that is gone is free, and no range is shared", () => {
  const [a, b] = [home("a"), home("b")];
  const first = claimUidRange(a, registry);
  expect(first).toBe(uidRanges.first);
  expect(claimUidRange(b, registry)).not.toBe(first);
  expect(claimUidRange(a, registry)).toBe(first);
  rmSync(a, { recursive: true });
  expect(claimUidRange(home("c"), registry)).toBe(first);
  releaseUidRange(b, registry);
  expect(readdirSync(registry)).toEqual(["0"]);
});
