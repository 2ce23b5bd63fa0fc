import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { launcherPath } from "../../packages/host/src/supervisor/launcher-path.ts";
import { hasNetns } from "../../packages/node/src/netns.ts";
import { Spawner } from "../../packages/node/src/spawner.ts";

let child: ChildProcess;
let spawner: Spawner;
beforeEach(() => {
  const started = spawn(launcherPath(), ["spawner"], { stdio: ["pipe", "pipe", "inherit"], env: { ONLY: "this" } });
  child = started;
  spawner = new Spawner(started.stdin, started.stdout);
});
afterEach(() => void child.kill("SIGKILL"));

const sh = (script: string, timeoutMs = 5000, input = "") =>
  spawner.run({ file: "/bin/sh", args: ["-c", script], input, timeoutMs });

test("a program gets its input and the spawner's environment, and its output and end are told", async () => {
  expect(await sh('cat; echo "$ONLY" >&2; exit 3', 5000, "in\nput")).toMatchObject({
    code: 3,
    late: false,
    stdout: "in\nput",
    stderr: "this\n",
  });
  expect(await sh("kill -9 $$")).toMatchObject({ code: null, late: false });
});

test("what takes too long is killed; what was put aside by a program is not waited for", async () => {
  const from = performance.now();
  expect(await sh("exec sleep 30", 100)).toMatchObject({ code: null, late: true });
  expect(await sh("sleep 2 & echo begun")).toMatchObject({ code: 0, stdout: "begun\n" });
  expect(performance.now() - from).toBeLessThan(1500);
});

test("fifty at once are not mixed up, and output is bounded", async () => {
  const all = await Promise.all(Array.from({ length: 50 }, (_, at) => sh(`echo ${at}`)));
  expect(all.map((each) => each?.stdout)).toEqual(all.map((_, at) => `${at}\n`));
  expect((await sh("head -c 1000000 /dev/zero"))?.stdout).toHaveLength(65_536);
});

/** Page faults of programs that it has run and waited for (proc(5): cminflt): more with each. */
const childFaults = () => readFileSync(`/proc/${child.pid}/stat`, "latin1").split(") ").at(-1)?.split(" ")[8];

test("its own short commands need no process, and what they unshare the next program does not see", async () => {
  const launcher = launcherPath();
  const own = (...args: string[]) => spawner.run({ file: launcher, args, input: "", timeoutMs: 5000 });
  const name = `exai-spawner-${process.pid}`;
  const network = () => readlinkSync(`/proc/${child.pid}/ns/net`);
  const before = network();
  const faults = childFaults();
  try {
    expect(await own("netns-add", name)).toEqual({ id: 1, code: 0, late: false, stdout: "", stderr: "" });
    expect(hasNetns(`/run/netns/${name}`)).toBe(true);
    expect(network()).toBe(before);
    expect(childFaults()).toBe(faults);
    expect((await sh("readlink /proc/self/ns/net"))?.stdout.trim()).toBe(before);
    expect(childFaults()).not.toBe(faults);
  } finally {
    await own("netns-del", name);
  }
  expect(await own("netns-del", name)).toMatchObject({ code: 0 });
  expect(existsSync(`/run/netns/${name}`)).toBe(false);
  expect(await own("netns-add", "else")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("starts with exai-"),
  });
  expect(await own("kill", "--pid", "1")).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^exai-launcher: usage: /),
  });
});

test("what can't be started, and a spawner that is killed, are told to who waits", async () => {
  const missing = { file: "/nonexistent", args: [], input: "", timeoutMs: 1000 };
  expect(await spawner.run(missing)).toBeUndefined();
  expect(spawner.serves).toBe(true);
  const waiting = sh("exec sleep 3");
  child.kill("SIGKILL");
  expect(await waiting).toBeUndefined();
  expect(spawner.serves).toBe(false);
  expect(await sh("true")).toBeUndefined();
});
