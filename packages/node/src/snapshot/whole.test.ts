import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { isWholeQemuState } from "./whole.ts";

const folder = mkdtempSync(join(tmpdir(), "exai-whole-"));
afterAll(() => rmSync(folder, { recursive: true }));

const json = Buffer.from(JSON.stringify({ page_size: 4096, devices: [{ name: "timer" }] }));
const length = Buffer.alloc(4);
length.writeUInt32BE(json.length);
// Sections may hold the mark, too.
const sections = Buffer.concat([Buffer.from("QEVM"), Buffer.alloc(3 << 20, Buffer.from([1, 0, 6, 0, 0]))]);
const whole = Buffer.concat([sections, Buffer.from([0, 6]), length, json]);

const isWhole = async (bytes: Buffer): Promise<boolean> => {
  const path = join(folder, "state");
  writeFileSync(path, bytes);
  return isWholeQemuState(path);
};

test("a state with its description at the end is whole; a byte less, or more, and it is not", async () => {
  expect(await isWhole(whole)).toBe(true);
  expect(await isWhole(whole.subarray(0, -1))).toBe(false);
  expect(await isWhole(Buffer.concat([whole, Buffer.from("}")]))).toBe(false);
});

const cuts = [0, 3, 4, 1 << 20, sections.length, sections.length + 2, sections.length + 6];
test.each(cuts)("cut off at %i", async (at) => {
  expect(await isWhole(whole.subarray(0, at))).toBe(false);
});

test("what is no state of QEMU's, or describes nothing, is none", async () => {
  expect(await isWhole(Buffer.concat([Buffer.from("XXXX"), whole.subarray(4)]))).toBe(false);
  expect(await isWhole(Buffer.concat([sections, Buffer.from([0, 6]), length, Buffer.alloc(json.length)]))).toBe(false);
});
