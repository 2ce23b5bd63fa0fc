import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cachePaths, root } from "../../tools/build/paths.ts";
import type { HostError } from "../../tools/nested-host/errors.ts";
import { NestedHost } from "../../tools/nested-host/host.ts";

/** Run folders of nested hosts that this process or one of `pids` has started. */
const runFolders = (...pids: (number | undefined)[]): string[] =>
  readdirSync(tmpdir()).filter((name) => pids.some((pid) => name.startsWith(`exai-nested-${pid}-`)));

const lives = (pid: number | undefined): boolean => {
  try {
    // A zombie's command line is empty.
    return readFileSync(`/proc/${pid}/cmdline`).length > 0;
  } catch {
    return false;
  }
};

describe("a nested host", () => {
  let host: NestedHost;
  let folder: string;
  beforeAll(async () => {
    host = await NestedHost.start();
    folder = mkdtempSync(join(tmpdir(), "exai-copied-"));
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });
  const sh = (script: string) => host.output(["sh", "-ec", script]);

  it("goes on from its saved state, with KVM, devices and the machine's time", async () => {
    expect(host.restored).toBe(true);
    expect(await sh("test -c /dev/kvm && uname -r")).toMatch(/^6\.1\..*-amd64\n$/);
    expect(Math.abs(Number(await sh("date +%s%3N")) - Date.now())).toBeLessThan(2000);
    await sh("mknod /srv/null c 1 3 && echo x > /srv/null");
    expect((await sh("cat /sys/fs/cgroup/cgroup.controllers")).split(" ")).toEqual(
      expect.arrayContaining(["cpuset", "cpu", "io", "memory", "pids"]),
    );
  });

  it("streams a command's input and both outputs, and tells its exit code", async () => {
    const stdout: Uint8Array[] = [];
    const stderr: Uint8Array[] = [];
    async function* stdin() {
      yield Buffer.from("one\n");
      yield Buffer.alloc(200_000, "x");
    }
    const { code } = await host.run(["sh", "-c", "read line; echo $line; wc -c; echo two >&2; exit 7"], {
      stdin: stdin(),
      onStdout: (data) => void stdout.push(data),
      onStderr: (data) => void stderr.push(data),
    });
    expect(code).toBe(7);
    expect(Buffer.concat(stdout).toString()).toBe("one\n200000\n");
    expect(Buffer.concat(stderr).toString()).toBe("two\n");
    expect((await host.run(["sh", "-c", "kill -9 $$"])).code).toBe(137);
    await expect(host.output(["/no/such"])).rejects.toMatchObject({ code: "command" } satisfies Partial<HostError>);
  });

  it("ends a command that takes too long, or that nobody waits for any more", async () => {
    expect(await host.run(["sleep", "600"], { timeoutMs: 300 })).toMatchObject({ timedOut: true });
    const giveUp = new AbortController();
    const given = host.run(["sleep", "601"], { signal: giveUp.signal });
    await sleep(300);
    giveUp.abort();
    await expect(given).rejects.toThrow("'sleep' was given up");
    // The agent says TERM first.
    await sleep(1500);
    expect(await sh("ps -e -o args= | grep '^sleep 60' || true")).toBe("");
  });

  it("reads the checkout and what was built, writes to neither, and does not see the release key", async () => {
    expect(await sh(`cat ${root}/package.json`)).toBe(readFileSync(join(root, "package.json"), "utf8"));
    expect((await host.run(["touch", join(root, "made")])).code).not.toBe(0);
    expect(existsSync(join(root, "made"))).toBe(false);
    expect(await sh(`ls ${cachePaths().release}`)).toBe("release.pub\n");
    expect(await sh(`ls ${cachePaths().cache}`)).toBe("build\nimages\nrelease\n");
  });

  it("has no network", async () => {
    expect(await sh("ls /sys/class/net")).toBe("lo\n");
  });

  it("gives out the files of a folder", async () => {
    await sh(
      "mkdir -p /run/out/deep && head -c 300000 /dev/urandom > /run/out/deep/file && ln -s /etc/passwd /run/out/link",
    );
    await host.copyOut("/run/out", folder);
    expect(readdirSync(folder)).toEqual(["deep"]);
    const digest = (await sh("sha256sum /run/out/deep/file")).slice(0, 64);
    expect(
      createHash("sha256")
        .update(readFileSync(join(folder, "deep/file")))
        .digest("hex"),
    ).toBe(digest);
  });
});

describe("the end of a nested host", () => {
  it("is orderly when it is asked to switch itself off", async () => {
    const host = await NestedHost.start();
    await host.powerOff();
    expect(await host.exited).toEqual({ code: 0, how: "ended with 0" });
    expect(runFolders(process.pid)).toEqual([]);
  });

  it("is told with its console when it dies under a command", async () => {
    await using host = await NestedHost.start();
    const running = host.run(["sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60"]);
    await expect(running).rejects.toMatchObject({
      code: "boot",
      message: expect.stringContaining("sysrq triggered crash"),
    });
  });

  it.each(["SIGINT", "SIGKILL"] as const)("comes with %s of who started it, and leaves nothing", async (signal) => {
    const argv = ["tools/nested-host/main.ts", "run", "--", "sh", "-c", "echo up; exec sleep 600"];
    const child = spawn(process.execPath, argv, { cwd: root, stdio: ["ignore", "pipe", "ignore"] });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    const emulators = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8")
      .trim()
      .split(" ")
      .map(Number);
    expect(emulators.map(lives)).toContain(true);
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
    await sleep(200);
    expect(emulators.filter(lives)).toEqual([]);
    // Who is killed can't remove its folder: the next one does.
    if (signal === "SIGKILL") await (await NestedHost.start())[Symbol.asyncDispose]();
    expect(runFolders(child.pid, process.pid)).toEqual([]);
  });
});
