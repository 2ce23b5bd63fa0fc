import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createLogger, newWorkspaceId, systemClock } from "@exai/base";
import { expect, test } from "vitest";
import { GuestDouble } from "../testing/guest-double.ts";
import { GuestLink } from "./guest-link.ts";

/** A link that runs, with the double of its guest. */
async function make() {
  const folder = mkdtempSync(join(tmpdir(), "exai-link-"));
  const resources = new AsyncDisposableStack();
  resources.defer(() => rmSync(folder, { recursive: true, force: true }));
  const lines: string[] = [];
  const logger = createLogger({ process: "test", write: (line) => void lines.push(line) });
  const double = await resources.use(new GuestDouble(join(folder, "guest.sock"))).listen();
  const link = new GuestLink({ workspace: newWorkspaceId(), folder, clock: systemClock, logger });
  const running = link.run();
  resources.defer(async () => {
    link[Symbol.dispose]();
    await running;
  });
  return { link, double, folder, lines, resources };
}

const acquire = (link: GuestLink) => link.acquire({ absent: 5000, boot: 5000 }, undefined);
const ends = (lines: readonly string[]) => lines.filter((line) => line.includes("channel ended")).length;

test("a guest that hangs up after each hello is dialled seldom and told once a second", async () => {
  const { link, double, lines, resources } = await make();
  await using _all = resources;
  let lives = 0;
  const until = performance.now() + 900;
  while (performance.now() < until) {
    if (link.session !== undefined) {
      lives++;
      double.cut();
    }
    await delay(1);
  }
  expect(lives).toBeGreaterThan(3);
  expect(lives).toBeLessThan(20);
  expect(ends(lines)).toBe(1);
});

test("a guest that was cut once is back at once", async () => {
  const { link, double, resources } = await make();
  await using _all = resources;
  const first = await acquire(link);
  double.cut();
  await first.lost;
  const start = performance.now();
  expect(await acquire(link)).not.toBe(first);
  expect(performance.now() - start).toBeLessThan(200);
});

test("a guest that answers with noise is dialled seldom, however much it has written into its logs", async () => {
  const folder = mkdtempSync(join(tmpdir(), "exai-link-"));
  let dialled = 0;
  const noisy = createServer((socket) => {
    dialled++;
    socket.on("error", () => undefined);
    socket.write(Buffer.alloc(4096));
  });
  await new Promise<void>((done) => noisy.listen(join(folder, "guest.sock"), done));
  const logger = createLogger({ process: "test", write: () => undefined });
  const link = new GuestLink({ workspace: newWorkspaceId(), folder, clock: systemClock, logger });
  const running = link.run();
  try {
    await delay(1500);
    const before = dialled;
    expect(before).toBeGreaterThan(3);
    for (let at = 0; at < 100; at++) {
      appendFileSync(join(folder, "console.log"), "noise\n");
      await delay(10);
    }
    expect(dialled - before).toBeLessThanOrEqual(2);
  } finally {
    link[Symbol.dispose]();
    await running;
    noisy.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

test("nothing watches the folder of a guest that is connected: its logs lie there", async () => {
  const { double, folder, link, resources } = await make();
  await using _all = resources;
  await acquire(link);
  expect(watched(folder)).toBe(false);
  await double[Symbol.asyncDispose]();
  await expect.poll(() => watched(folder), { timeout: 10_000 }).toBe(true);
  await resources.use(new GuestDouble(join(folder, "guest.sock"))).listen();
  // By the watcher: nobody calls, and looking by itself takes it up to a second.
  await expect.poll(() => link.session !== undefined, { timeout: 400, interval: 10 }).toBe(true);
  expect(watched(folder)).toBe(false);
});

/** By an inotify instance of this process (proc(5), "fdinfo"). */
function watched(folder: string): boolean {
  const inode = statSync(folder).ino.toString(16);
  return readdirSync("/proc/self/fdinfo").some((fd) => {
    try {
      return new RegExp(`^inotify wd:\\S+ ino:${inode} `, "m").test(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"));
    } catch {
      return false; // closed meanwhile
    }
  });
}
