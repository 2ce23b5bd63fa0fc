import { createHash } from "node:crypto";
import { chmodSync, chownSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findFirecracker } from "./firecracker.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-firecracker-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A double that says a version, and leaves a mark when it was executed. */
function double(says: string): { path: string; sha256: string } {
  const path = join(folder, `double-${says.length}-${Math.random()}`);
  const text = `#!/bin/sh\ntouch "$0.ran"\necho '${says}'\n`;
  writeFileSync(path, text);
  chmodSync(path, 0o755);
  return { path, sha256: createHash("sha256").update(text).digest("hex") };
}

test("an executable that nobody vouches for is not executed", async () => {
  const { path, sha256 } = double("Firecracker v1.12.1");
  await expect(findFirecracker({ path })).rejects.toThrow(new RegExp(`SHA-256 is ${sha256}; compare it`));
  await expect(findFirecracker({ path, sha256: "0".repeat(64) })).rejects.toThrow(/not the Firecracker that was asked/);
  await expect(findFirecracker({ path: `${path}.ran` })).rejects.toThrow(/is not a file/);
});

test("a newer one is taken by its digest, an older one and another program are not", async () => {
  const newer = double("Firecracker v1.15.0");
  expect(await findFirecracker(newer)).toEqual({ ...newer, version: "1.15.0" });
  await expect(findFirecracker(double("Firecracker v1.9.1"))).rejects.toThrow(/1\.9\.1; 1\.12 or a later 1\.x/);
  await expect(findFirecracker(double("Firecracker v2.0.0"))).rejects.toThrow(/or a later 1\.x/);
  await expect(findFirecracker(double("Firecracker v1.16.0"))).rejects.toThrow(/1\.16\.0, which does not restore/);
  expect(await findFirecracker(double("Firecracker v1.16.2"))).toMatchObject({ version: "1.16.2" });
  await expect(findFirecracker(double("hello"))).rejects.toThrow(/does not say which version/);
});

test("one that somebody else could change meanwhile is not even executed", async () => {
  const theirs = double("Firecracker v1.15.0");
  chownSync(theirs.path, 12_345, 12_345);
  await expect(findFirecracker(theirs)).rejects.toThrow(/is no file that root alone can change/);
  const open = double("Firecracker v1.15.0");
  chmodSync(open.path, 0o777);
  await expect(findFirecracker(open)).rejects.toThrow(/is no file that root alone can change/);
  expect(
    readdirSync(folder).filter((name) => [theirs, open].some(({ path }) => `${folder}/${name}` === `${path}.ran`)),
  ).toEqual([]);
});
