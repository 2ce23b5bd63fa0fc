import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { leftovers, newLeftovers } from "../support/leftovers.ts";
import { repository } from "../support/stack.ts";

const folders = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith("exai-tour-"));

/**
 * What README promises to who types its first command a second time: no network, the whole of it, nothing left. The
 * minute it may take is measured by hand (docs/benchmarks.md), since this runs beside whatever else the machine does.
 */
test("a second quickstart does the main job without a network and leaves nothing", { timeout: 170_000 }, async () => {
  const before = { machine: leftovers(), folders: folders() };
  const script = "ip link set lo up && exec make --no-print-directory quickstart";
  const child = spawn("unshare", ["-n", "sh", "-c", script], { cwd: repository, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
  const timer = setTimeout(() => child.kill("SIGTERM"), 160_000);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearTimeout(timer);
  expect(code, said.slice(-2000)).toBe(0);
  expect(said).toMatch(/hello from Linux \S+ as user/);
  expect(said).toMatch(/the JUnit report says 909 tests, 0 failed – as expected/);
  expect(said).toMatch(/ready after [\d.]+ s, all in [\d.]+ s, kernel \S+-exai/); // a time names its kernel
  expect(said).toMatch(/nothing is left behind\. Next:\n.*\.\/exai up -d/);
  expect(newLeftovers(before.machine)).toEqual([]);
  expect(folders()).toEqual(before.folders);
});
