import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { enrolHost } from "../enrol/host.ts";
import { type Home, openHome } from "../home/home.ts";
import { runPaths } from "../home/paths.ts";
import { releaseUidRange } from "../home/uid-range.ts";
import { Stack } from "./stack.ts";

let folder: string;
let home: Home;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-stack-"));
  chmodSync(folder, 0o711);
  home = openHome(join(folder, "home"), 0);
});
afterEach(() => {
  rmSync(runPaths(home.stack).run, { recursive: true, force: true });
  releaseUidRange(home.paths.home);
  rmSync(folder, { recursive: true, force: true });
});

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
