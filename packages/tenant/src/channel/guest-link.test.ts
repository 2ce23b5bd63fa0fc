import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
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
  return { link, double, lines, resources };
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
