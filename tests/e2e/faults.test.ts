import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Client } from "@exai/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { initramfs } from "../../tools/build/initramfs.ts";
import { hangingInit, TestImages } from "../support/images.ts";
import { leftoversOf, type StackTraces, tracesOf } from "../support/leftovers.ts";
import { TestStack } from "../support/stack.ts";

let traces: StackTraces;
let images: TestImages;
let stack: TestStack;
let spool: string;
const hangSince = { ms: 0 };

/** A small file system of its own for the audit spools, so that it can be filled. */
function smallSpool(home: string): void {
  spool = join(home, "spool");
  mkdirSync(spool, { mode: 0o755 });
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m,mode=0755", "exai-test-spool", spool]);
}

beforeAll(async () => {
  images = new TestImages();
  const init = initramfs(hangingInit("exai-test: this init never says ready\n"));
  images.add("hanging", { initramfs: images.blob(init) });
  stack = await TestStack.start(["--images", images.store], (home) => {
    images.enrol(home);
    smallSpool(home);
  });
  traces = tracesOf(stack.home);
  // It takes the host two minutes to give up: it hangs while the other tests run, and is looked at last.
  hangSince.ms = Date.now();
  await stack.must(["ws", "create", "--name", "hanging", "--image", "hanging", "--memory", "128M", "--no-wait"]);
  await stack.must(["ws", "create", "--name", "one", "--memory", "128M", "--disk", "1G"]);
}, 60_000);

afterAll(async () => {
  await stack?.exai(["down"]);
  if (spool !== undefined) execFileSync("umount", [spool]);
  await stack?.[Symbol.asyncDispose]();
  images?.[Symbol.dispose]();
  expect(leftoversOf(traces)).toEqual([]);
}, 120_000);

/** One sentence on standard error. */
function sentence(stderr: string): string {
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stderr).toMatch(/^exai: /);
  return stderr;
}

describe("two of everything", () => {
  it("refuses a second 'exai up' on one home, and the first goes on", async () => {
    const second = await stack.exai(["up", "-d"]);
    expect(second.code).toBe(1);
    expect(sentence(second.stderr)).toMatch(/another 'exai up' runs on .*choose another EXAI_HOME/);
    expect((await stack.must(["exec", "one", "--", "echo", "here"])).stdout).toBe("here\n");
  });

  it("runs two stacks side by side, and one that goes leaves the other alone", async () => {
    const other = await TestStack.start();
    try {
      const ran = await Promise.all([
        stack.must(["exec", "one", "--", "echo", "first"]),
        other.must(["run", "--memory", "128M", "--", "echo", "second"]),
      ]);
      expect(ran.map(({ stdout }) => stdout)).toEqual(["first\n", "second\n"]);
      expect(JSON.parse((await other.must(["ws", "ls", "--json"])).stdout)).toEqual([]);
    } finally {
      await other[Symbol.asyncDispose]();
    }
    expect((await stack.must(["exec", "one", "--", "echo", "still"])).stdout).toBe("still\n");
  });
});

describe("a full disk in the workspace", () => {
  it("refuses 10 GB for a disk of 1 GB before it sends them", async () => {
    const big = join(stack.home, "ten-gigabytes");
    writeFileSync(big, "");
    truncateSync(big, 10 * 2 ** 30);
    const copied = await stack.exai(["cp", big, "one:big"]);
    rmSync(big);
    expect(copied.code).not.toBe(0);
    expect(sentence(copied.stderr)).toMatch(/not enough room/);
    expect(copied.ms).toBeLessThan(20_000);
    expect((await stack.must(["exec", "one", "--", "sh", "-c", "ls -A | grep -c big || true"])).stdout).toBe("0\n");
  });

  it("ends a stream that fills it, keeps nothing of it, and the workspace goes on", async () => {
    await stack.must(["ws", "create", "--name", "small", "--memory", "128M", "--disk", "96M"]);
    const copied = await stack.exai(["cp", "-", "small:stream"], { input: Buffer.alloc(128 << 20, 1) });
    expect(copied.code).not.toBe(0);
    expect(sentence(copied.stderr)).toMatch(/no space left|not enough room|disk/i);
    const filled = await stack.exai(["exec", "small", "--", "sh", "-c", "head -c 200M /dev/zero > fill"]);
    expect(filled.code).not.toBe(0);
    expect(filled.stderr).toMatch(/No space left on device/);
    const after = await stack.must([
      "exec",
      "small",
      "--",
      "sh",
      "-c",
      "ls -A | grep -v ^fill; rm fill && echo ok > file && cat file",
    ]);
    expect(after.stdout.split("\n").filter((line) => /stream|exai/.test(line))).toEqual([]);
    expect(after.stdout).toMatch(/ok\n$/);
    await stack.must(["ws", "rm", "small"]);
  });
});

describe("a full disk under the audit spools", () => {
  it("refuses what grants, takes every step that contains, and tells of both afterwards", async () => {
    const home = stack.home;
    await using client = await Client.open({ home });
    const workspace = await client.workspaces.get("one");
    await using running = await workspace.exec(["sleep", "1000"]);
    const filler = join(spool, "filler");
    fill(filler);
    // Its open segment still has room in its last block.
    for (let n = 0; n < 60 && (await workspace.run(["true"]).catch(() => undefined)) !== undefined; n++);

    const refused = await stack.exai(["exec", "one", "--", "true"]);
    expect(refused.code).toBe(125);
    expect(sentence(refused.stderr)).toMatch(/audit log has no space left/);
    const boot = await stack.exai(["run", "--memory", "128M", "--", "true"], { timeoutMs: 30_000 });
    expect(boot.code).toBe(125);
    expect(sentence(boot.stderr)).toMatch(/audit|space/);

    await running.signal("KILL");
    expect((await running.wait()).signal).toBe(9);
    await stack.must(["ws", "stop", "one"]);
    expect((await stack.exai(["exec", "one", "--", "true"])).code).toBe(125);

    rmSync(filler);
    await stack.must(["ws", "start", "one"]);
    expect((await stack.must(["exec", "one", "--", "echo", "again"])).stdout).toBe("again\n");
    const events = (await stack.must(["events", "--json"])).stdout;
    expect(events).toMatch(/process\.signal/);
    expect(events).toMatch(/workspace\.stop/);
  }, 90_000);
});

/** Until not even a byte more goes. */
function fill(path: string): void {
  const fillTo = (bytes: number) =>
    execFileSync("sh", ["-c", `head -c ${bytes} /dev/zero >> '${path}' 2>/dev/null || true`]);
  for (const bytes of [4 << 20, 4096, 1]) fillTo(bytes);
  expect(() => writeFileSync(`${path}.more`, "x".repeat(8192))).toThrow(/ENOSPC/);
  rmSync(`${path}.more`, { force: true });
}

describe("a guest that never says ready", () => {
  it("fails after its time with a reason, keeps its console, and leaves nothing when removed", async () => {
    await using client = await Client.open({ home: stack.home });
    const workspace = await client.workspaces.get("hanging");
    const timeoutMs = Math.max(1000, 135_000 - (Date.now() - hangSince.ms));
    await workspace.until((phase) => phase === "failed", { timeoutMs }, new Set());
    const gone = await stack.exai(["exec", "hanging", "--", "true"]);
    expect(gone.code).toBe(125);
    expect(sentence(gone.stderr)).toMatch(/failed: .*(not ready|never|did not)/);
    const seen = JSON.parse((await stack.must(["ws", "inspect", "hanging", "--json"])).stdout);
    expect(seen.phase).toBe("failed");
    expect((await stack.must(["ws", "logs", "hanging"])).stdout).toMatch(/this init never says ready/);
    const disk = join(stack.home, "vms", seen.id, "overlay.ext4");
    expect(statSync(disk).isFile()).toBe(true);
    await stack.must(["ws", "rm", "hanging"]);
    expect(() => statSync(disk)).toThrow();
    expect(processesOf(seen.id)).toBe("");
  }, 170_000);
});

const processesOf = (workspace: string): string => {
  const all = execFileSync("ps", ["-eo", "args"], { encoding: "utf8" });
  return all
    .split("\n")
    .filter((line) => line.includes(workspace))
    .join("\n");
};

it("keeps the logs of all this bounded", () => {
  const sizes = execFileSync("du", ["-sb", join(stack.home, "logs")], { encoding: "utf8" });
  expect(Number(sizes.split("\t")[0])).toBeLessThan(1 << 20);
  expect(readFileSync(join(stack.home, "home.json"), "utf8")).toMatch(/"version":1/);
});
