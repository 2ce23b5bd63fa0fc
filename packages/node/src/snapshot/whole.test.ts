import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
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

test("a description may be longer or shorter; what is none, or longer than any, is none", async () => {
  const ending = (text: string): Buffer => {
    const own = Buffer.alloc(4);
    own.writeUInt32BE(text.length);
    return Buffer.concat([sections, Buffer.from([0, 6]), own, Buffer.from(text)]);
  };
  expect(await isWhole(ending(`{"a":"${"x".repeat(200_000)}"}`))).toBe(true);
  expect(await isWhole(ending(`{"a":"${"x".repeat(300_000)}"}`))).toBe(false);
  for (const text of ["[]", "{", "null", "\0".repeat(json.length)]) expect(await isWhole(ending(text))).toBe(false);
});

test("what is no state of QEMU's is none, marks everywhere or at its start", async () => {
  expect(await isWhole(Buffer.concat([Buffer.from("XXXX"), whole.subarray(4)]))).toBe(false);
  expect(await isWhole(Buffer.concat([Buffer.from("QEVM"), Buffer.alloc(1 << 20, Buffer.from([0, 6]))]))).toBe(false);
  const tail = Buffer.alloc(256 << 10, 0x7d);
  tail.set([0, 6, 0, 0, 0, 1]);
  expect(await isWhole(Buffer.concat([Buffer.from("QEVM"), tail]))).toBe(false);
});

test("no file, or a link, is no snapshot", async () => {
  const link = join(folder, "link");
  symlinkSync(join(folder, "state"), link);
  for (const path of [link, join(folder, "missing")])
    await expect(isWholeQemuState(path)).rejects.toMatchObject({ code: "no-snapshot" });
});
