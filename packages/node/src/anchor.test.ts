import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Anchor } from "./anchor.ts";

let root: string;
let victim: string;
const self = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "exai-anchor-"));
  victim = join(root, "victim");
  mkdirSync(join(root, "hostile"));
  mkdirSync(victim);
  writeFileSync(join(victim, "file"), "precious");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const open = () => Anchor.open(join(root, "hostile"));

test("a folder behind a link is not opened", () => {
  symlinkSync(victim, join(root, "hostile", "link"));
  expect(() => Anchor.open(join(root, "hostile", "link"))).toThrow(/ENOTDIR|ELOOP/);
  using anchor = open();
  expect(anchor.enterIfFolder("link")).toBeUndefined();
  expect(anchor.enterIfFolder("missing")).toBeUndefined();
  expect(() => anchor.makeFolder("link", self, 0o700)).toThrow(/ENOTDIR|ELOOP/);
});

test("removing takes links away, not what they lead to", () => {
  const inner = join(root, "hostile", "vm", "deep");
  mkdirSync(inner, { recursive: true });
  symlinkSync(victim, join(inner, "link"));
  symlinkSync(victim, join(root, "hostile", "top"));
  using anchor = open();
  for (const name of ["vm", "top", "missing"]) anchor.remove(name);
  expect(readdirSync(join(root, "hostile"))).toEqual([]);
  expect(readdirSync(victim)).toEqual(["file"]);
});

test("a folder is made with its mode, also when it is there", () => {
  using anchor = open();
  for (const mode of [0o700, 0o711]) {
    anchor.makeFolder("vm", self, mode);
    expect(lstatSync(join(root, "hostile", "vm")).mode & 0o777).toBe(mode);
  }
});

test("what is too deep stays, and is told", () => {
  mkdirSync(join(root, "hostile", ..."abcdefghijkl"), { recursive: true });
  using anchor = open();
  expect(() => anchor.remove("a")).toThrow("too much");
});

test.each(["", ".", "..", "a/b", "../victim"])("'%s' is no name", (name) => {
  using anchor = open();
  expect(() => anchor.remove(name)).toThrow("plain");
});
