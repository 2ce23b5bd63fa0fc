import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeFlags } from "../../packages/host/src/supervisor/service-argv.ts";
import { attacks } from "./lying-guest/attacks.ts";
import type { Outcome } from "./lying-guest/host.ts";

// A hostile fake guest floods the host's client in every way that HTTP/2 and gRPC offer. Each time: the caller gets a
// typed error within a bound, memory stays within 32 MiB, the event loop is never blocked for long, and another
// workspace's calls in the same process keep their p99 within twice of before.

const bounds = { callMs: 2500, memoryMib: 32, blockedMs: 200, neighbourRatio: 2 };
/** Timings on a busy machine only ever get worse by chance: the best of three counts. */
const rounds = 3;

const script = (name: string) => join(import.meta.dirname, "lying-guest", name);

function start(name: string, args: string[]) {
  // As the supervisor starts the process that talks with guests.
  const argv = [...nodeFlags, "--expose-gc", script(name), ...args];
  const child = spawn(process.execPath, argv, { stdio: ["pipe", "pipe", "inherit"] });
  const first = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout })
      .once("line", resolve)
      .once("close", () => reject(new Error(`${name} said nothing`)));
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    first,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

let folder = "";
let neighbour: ReturnType<typeof start>;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "exai-liar-"));
  neighbour = start("neighbour.ts", [join(folder, "n")]);
  await neighbour.first;
});
afterAll(async () => {
  await neighbour[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

async function attackOnce(name: string): Promise<Outcome> {
  const socket = join(folder, "liar");
  await using liar = start("liar.ts", [socket, name]);
  await liar.first;
  await using host = start("host.ts", [socket, join(folder, "n"), name]);
  return JSON.parse(await host.first) as Outcome;
}

const shortfalls = (outcome: Outcome): string[] =>
  [
    outcome.longestCallMs > bounds.callMs && `a call took ${outcome.longestCallMs.toFixed(0)} ms`,
    outcome.memoryMib > bounds.memoryMib && `memory grew by ${outcome.memoryMib.toFixed(1)} MiB`,
    outcome.blockedMs > bounds.blockedMs && `the event loop was blocked for ${outcome.blockedMs.toFixed(0)} ms`,
    outcome.duringP99Ms > outcome.baseP99Ms * bounds.neighbourRatio &&
      `the neighbour's p99 went from ${outcome.baseP99Ms.toFixed(1)} to ${outcome.duringP99Ms.toFixed(1)} ms`,
  ].filter((text) => text !== false);

describe("a lying guest", () => {
  it.each(Object.keys(attacks))("%s", { timeout: 60_000 }, async (name) => {
    let outcome: Outcome | undefined;
    for (let round = 0; round < rounds; round++) {
      outcome = await attackOnce(name);
      if (shortfalls(outcome).length === 0) break;
    }
    if (outcome === undefined) throw new Error("nothing was measured");
    console.log(`${name}: ${JSON.stringify(outcome)}`);
    expect(shortfalls(outcome)).toEqual([]);
    expect(outcome.calls).toBeGreaterThan(0);
    expect(outcome.faults).not.toContain("none");
    const fault = attacks[name]?.fault;
    if (fault !== undefined) for (const seen of outcome.faults) expect(seen).toMatch(fault);
  });
});
