import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { digestFile } from "./chunks.ts";

const folder = mkdtempSync(join(tmpdir(), "exai-chunks-"));
afterAll(() => rmSync(folder, { recursive: true }));

const sha256 = (bytes: Buffer): Buffer => createHash("sha256").update(bytes).digest();

/** As docs/internals/snapshot.md has it, without a short cut. */
function plain(bytes: Buffer): string {
  const whole = createHash("sha256");
  for (let at = 0; at < bytes.length; at += 65_536) whole.update(sha256(bytes.subarray(at, at + 65_536)));
  return whole.digest("hex");
}

const contents: Record<string, Buffer> = {
  nothing: Buffer.alloc(0),
  "one byte": Buffer.from("x"),
  "a piece": randomBytes(65_536),
  "zeros, then something": Buffer.concat([Buffer.alloc(3 * 65_536), randomBytes(10), Buffer.alloc(70_000)]),
  "more than one read": Buffer.concat([randomBytes(17 * 65_536), Buffer.alloc(40 * 65_536), randomBytes(5)]),
};
test.each(Object.keys(contents))("%s", async (name) => {
  const bytes = contents[name] ?? Buffer.alloc(0);
  const file = join(folder, "file");
  writeFileSync(file, bytes);
  expect(await digestFile(file, 1 << 30)).toEqual({
    sizeBytes: bytes.length,
    chunkBytes: 65_536,
    sha256: plain(bytes),
  });
});

test("a zero more or less is another file", async () => {
  const file = join(folder, "zeros");
  const seen = new Set<string>();
  for (const size of [65_535, 65_536, 65_537, 131_072]) {
    writeFileSync(file, "");
    truncateSync(file, size);
    seen.add((await digestFile(file, 1 << 30)).sha256);
  }
  expect(seen.size).toBe(4);
});

test("what is longer than it may be is not read", async () => {
  const file = join(folder, "hole");
  writeFileSync(file, "");
  truncateSync(file, 2 ** 40);
  const startMs = performance.now();
  await expect(digestFile(file, 2 ** 27)).rejects.toMatchObject({ code: "no-snapshot" });
  await expect(digestFile(file, 2 ** 27, "snapshot-broken")).rejects.toMatchObject({ code: "snapshot-broken" });
  expect(performance.now() - startMs).toBeLessThan(1000);
});

test("links and folders are no snapshot", async () => {
  writeFileSync(join(folder, "there"), "x");
  symlinkSync(join(folder, "there"), join(folder, "link"));
  mkdirSync(join(folder, "folder"));
  for (const name of ["link", "folder", "none"])
    await expect(digestFile(join(folder, name), 1 << 30)).rejects.toMatchObject({ code: "no-snapshot" });
});
