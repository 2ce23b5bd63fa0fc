import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { downCommand } from "../commands/down.ts";
import { statusCommand } from "../commands/status.ts";
import { tenantCommand } from "../commands/tenant.ts";
import { findHome, openHome } from "./home.ts";
import { ownFolder } from "./own-folder.ts";
import { releaseUidRange } from "./uid-range.ts";

/** Somebody who is not root, and wants root's rights. */
const stranger = 65_534;
let folder: string;
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "exai-own-")));
  chmodSync(folder, 0o755);
});
afterEach(() => {
  releaseUidRange(join(folder, "home"));
  rmSync(folder, { recursive: true, force: true });
});
const home = () => join(folder, "home");
const refused = (says: RegExp) => expect.objectContaining({ code: "home", message: expect.stringMatching(says) });

/** What root must not touch. */
function victim(): { path: string; untouched(): void } {
  const path = join(folder, "victim");
  mkdirSync(path, { mode: 0o750 });
  const before = statSync(path);
  return {
    path,
    untouched() {
      const { mode, uid, gid } = statSync(path);
      expect({ mode, uid, gid }).toEqual({ mode: before.mode, uid: before.uid, gid: before.gid });
      expect(readdirSync(path)).toEqual([]);
    },
  };
}

it("a home that a stranger made, with links in it, is left as it is", () => {
  const target = victim();
  mkdirSync(home());
  for (const name of ["anchors", "host", "vms", "spool", "logs"]) symlinkSync(target.path, join(home(), name));
  chownSync(home(), stranger, stranger);
  expect(() => openHome(home(), 0)).toThrow(refused(/belongs to user 65534; .*choose another EXAI_HOME/));
  target.untouched();
  expect(statSync(home()).mode & 0o777).toBe(0o755);
  expect(existsSync(join(home(), "home.json"))).toBe(false);
});

it("a stranger's link to a folder of root's is not followed, as the home or above it", () => {
  const target = victim();
  symlinkSync(target.path, home());
  lchownSync(home(), stranger, stranger);
  expect(() => openHome(home(), 0)).toThrow(refused(/is a link of user 65534/));
  expect(() => openHome(join(home(), "below"), 0)).toThrow(refused(/is a link of user 65534/));
  target.untouched();
});

it.each([0o775, 0o757, 0o1777])("a home of mode %o is refused", (mode) => {
  mkdirSync(home());
  chmodSync(home(), mode);
  expect(() => openHome(home(), 0)).toThrow(refused(/may be written to by others/));
  expect(statSync(home()).mode & 0o7777).toBe(mode);
});

it("a folder above that a stranger owns or may write to is refused, unless it is sticky", () => {
  const above = join(folder, "above");
  mkdirSync(above);
  for (const mode of [0o777, 0o775]) {
    chmodSync(above, mode);
    expect(() => ownFolder(join(above, "home"), "make")).toThrow(refused(/above may be written to by others/));
  }
  chmodSync(above, 0o1777);
  expect(ownFolder(join(above, "home"), "make")).toBe(join(above, "home"));
  chownSync(above, stranger, stranger);
  expect(() => ownFolder(join(above, "home"), "make")).toThrow(refused(/above belongs to user 65534/));
});

it.each([0o755, 0o711, 0o700])("a home of root's with mode %o is fine, also behind a link of root's", (mode) => {
  mkdirSync(home());
  chmodSync(home(), mode);
  symlinkSync("./home", join(folder, "link"));
  expect(openHome(join(folder, "link"), 0).paths.home).toBe(home());
  expect(findHome(join(folder, "link")).paths.home).toBe(home());
});

it("links in a circle end", () => {
  symlinkSync("home", home());
  expect(() => ownFolder(home(), "make")).toThrow(refused(/too many links/));
});

it("no command trusts what a foreign home says", async () => {
  const file = join(home(), "keep");
  mkdirSync(home());
  writeFileSync(file, "");
  const text = { version: 1, stack: "aaaaaaaa", createdAt: new Date(0).toISOString() };
  writeFileSync(join(home(), "home.json"), JSON.stringify(text));
  chownSync(home(), stranger, stranger);
  const io = { stdout: () => undefined, stderr: () => undefined, json: false, signal: new AbortController().signal };
  const foreign = refused(/belongs to user 65534/);
  await expect(downCommand({ home: home(), keepVms: false, purge: true }, io)).rejects.toEqual(foreign);
  await expect(statusCommand({ home: home() }, io)).rejects.toEqual(foreign);
  await expect(tenantCommand({ home: home(), action: "ls", imageStore: "/images" }, io)).rejects.toEqual(foreign);
  expect(readdirSync(home()).sort()).toEqual(["home.json", "keep"]);
});
