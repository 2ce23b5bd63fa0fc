import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { keepFirecracker } from "./kept-firecracker.ts";

let folder: string;
let kept: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-kept-"));
  kept = join(folder, "vmm");
});
afterEach(() => rmSync(folder, { recursive: true }));

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
function executable(bytes: Buffer) {
  const path = join(folder, "firecracker");
  writeFileSync(path, bytes, { mode: 0o755 });
  return { path, version: "1.12.1", sha256: sha256(bytes) };
}
const release = Buffer.alloc(3 << 20, "release");

test("what is launched is what was vouched for, whatever is put in its place afterwards", async () => {
  const found = executable(release);
  const { path, version } = await keepFirecracker(found, kept);
  expect(version).toBe("1.12.1");
  writeFileSync(found.path, "another");
  expect(sha256(readFileSync(path))).toBe(found.sha256);
  expect(statSync(path).mode & 0o7777).toBe(0o555);
  expect(statSync(kept).mode & 0o7777).toBe(0o711);
});

test("one that was swapped after its digest was taken is refused, and nothing of it stays", async () => {
  const found = executable(release);
  writeFileSync(found.path, "another");
  await expect(keepFirecracker(found, kept)).rejects.toMatchObject({
    code: "platform",
    message: expect.stringMatching(/changed while/),
  });
  expect(readdirSync(kept)).toEqual([]);
});

test("a newer one takes the place of the one before; the same one again is no change", async () => {
  const before = await keepFirecracker(executable(release), kept);
  await keepFirecracker(executable(release), kept);
  const { path } = await keepFirecracker(executable(Buffer.from("newer")), kept);
  expect(readdirSync(kept)).toHaveLength(1);
  expect(existsSync(before.path)).toBe(false);
  expect(readFileSync(path, "utf8")).toBe("newer");
});
