import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
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

test("a home keeps its range, and no range is shared", () => {
  const [a, b] = [home("a"), home("b")];
  const first = claimUidRange(a, registry);
  expect(first).toBe(uidRanges.first);
  expect(claimUidRange(b, registry)).not.toBe(first);
  expect(claimUidRange(a, registry)).toBe(first);
  releaseUidRange(b, registry);
  expect(readdirSync(registry)).toEqual(["0"]);
});

test("the claim of a home that is gone is taken over when no other range is free, by one alone", async () => {
  full();
  const gone = home("gone");
  rmSync(join(registry, "7"));
  const range = claimUidRange(gone, registry);
  rmSync(gone, { recursive: true });
  const script = `
    const { claimUidRange } = await import(process.argv[1]);
    try { console.log(claimUidRange(process.argv[2], process.argv[3])); } catch (error) { console.log(error.code); }`;
  const module = join(import.meta.dirname, "uid-range.ts");
  const racers = Array.from({ length: 6 }, (_, at) => home(`racer-${at}`)).map((each) =>
    promisify(execFile)(process.execPath, ["--input-type=module", "-e", script, module, each, registry]),
  );
  const answers = (await Promise.all(racers)).map(({ stdout }) => stdout.trim());
  expect(answers.toSorted()).toEqual([String(range), ...Array(5).fill("uids")].toSorted());
  expect(readdirSync(registry)).toHaveLength(256);
});
