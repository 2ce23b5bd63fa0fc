import { appendFileSync, chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openHome, prepareHome } from "../home/home.ts";
import { lockHome } from "../home/lock.ts";
import { homePaths } from "../home/paths.ts";
import { releaseUidRange } from "../home/uid-range.ts";
import { detach, supervisorLog } from "./detach.ts";

let folder: string;
let home: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-detach-"));
  chmodSync(folder, 0o711);
  home = join(folder, "home");
});
afterEach(() => {
  releaseUidRange(home);
  rmSync(folder, { recursive: true, force: true });
});
const upLog = () => join(homePaths(home).logs, "up.log");
const program = (script: string): [string, ...string[]] => [process.execPath, "-e", script];
const fails = program(`process.stderr.write("exai: no room\\n{}\\n"); process.exitCode = 1;`);

it("of a home on which a stack runs says so, and touches nothing of it", async () => {
  const { paths } = openHome(home, 0);
  appendFileSync(upLog(), "what the running stack said\n");
  using _lock = await lockHome(paths.home);
  await expect(detach(home, fails)).rejects.toMatchObject({ code: "locked" });
  expect(readFileSync(upLog(), "utf8")).toBe("what the running stack said\n");
});

it("of a home that is being removed makes nothing in it", async () => {
  using _lock = await lockHome(prepareHome(home).home);
  await expect(detach(home, fails)).rejects.toThrow(/another 'exai up' runs/);
  expect(existsSync(homePaths(home).homeFile)).toBe(false);
});

it("says what ended the supervisor, of this start and no other, and keeps what was said before", async () => {
  openHome(home, 0);
  appendFileSync(upLog(), "exai: an old error\n");
  await expect(detach(home, fails)).rejects.toMatchObject({ code: "child", message: "no room" });
  await expect(detach(home, program("process.exit(1)"))).rejects.toThrow(/ended without a word; see .*up\.log/);
  expect(readFileSync(upLog(), "utf8")).toContain("exai: an old error\n");
});

it("keeps its log bounded, over many starts and in a long one", async () => {
  const { paths } = openHome(home, 0);
  appendFileSync(upLog(), "x".repeat(600 << 10));
  await expect(detach(home, fails)).rejects.toThrow("no room");
  expect(statSync(upLog()).size).toBeLessThan(1000);
  const loses = () => expect.unreachable("nobody reads it");
  using log = supervisorLog(paths, loses, { EXAI_DETACHED: "1" });
  for (let n = 0; n < 2000; n++) log.write(`${"x".repeat(1023)}\n`);
  expect(statSync(upLog()).size + statSync(`${upLog()}.1`).size).toBeLessThanOrEqual(1 << 20);
});

it("leaves the log to standard error in the foreground", () => {
  const lines: string[] = [];
  using log = supervisorLog(openHome(home, 0).paths, (line) => lines.push(line), {});
  log.write("hello\n");
  expect([lines, existsSync(upLog())]).toEqual([["hello\n"], false]);
});
