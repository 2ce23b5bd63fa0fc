import { existsSync, mkdirSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import { enrolHost } from "../enrol/host.ts";
import type { Home } from "../home/home.ts";
import { runPaths } from "../home/paths.ts";
import { makeTestHome } from "../testing/home.fixture.ts";
import { Stack } from "./stack.ts";

let made: ReturnType<typeof makeTestHome>;
let home: Home;
beforeEach(() => {
  made = makeTestHome();
  ({ home } = made);
});
afterEach(() => made[Symbol.dispose]());

async function stopped(...requests: boolean[]): Promise<void> {
  const options = {
    home,
    host: await enrolHost(home, 0),
    tenants: [],
    imageStore: "/images",
    launcher: "/nonexistent",
    qemu: "/nonexistent",
    accelerator: "tcg",
    tscKhz: undefined,
    production: false,
    capacity: { memoryMib: 1, vms: 1 },
  } as const;
  mkdirSync(runPaths(home.stack).run, { recursive: true });
  const logger = { log: () => undefined };
  await using stack = new Stack(options, { acceleratorReason: "", startedAtMs: 0, logger });
  for (const keepVms of requests) stack.requestStop(keepVms);
  await stack.stopRequested;
}

it("that was stopped for an upgrade leaves the microVMs their sockets, though SIGTERM comes after", async () => {
  await stopped(true, false);
  expect(existsSync(runPaths(home.stack).run)).toBe(true);
});

it("that was stopped leaves no run folder", async () => {
  await stopped(false);
  expect(existsSync(runPaths(home.stack).run)).toBe(false);
});
