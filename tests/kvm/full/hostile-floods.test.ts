// nested-host: minutes=25
// nested-host: always
// nested-host: alone
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { holds, type Measured } from "../flood-figures.ts";
import { FloodStand } from "../flood-stand.ts";
import { keptFolder } from "../where.ts";

/** More than the stand's own patience. */
const timeout = 900_000;

/** Nothing malformed, only far too much: what it costs a workspace beside it, our processes, and the host's disk. */
describe("a guest that floods its host", () => {
  let stand: FloodStand;
  let before: string[];
  const all: Record<string, Measured> = {};

  beforeAll(async () => {
    stand = await FloodStand.begin();
    before = stand.host.leftovers();
  });
  afterAll(async () => {
    await stand?.[Symbol.asyncDispose]();
    writeFileSync(join(keptFolder(), "floods.json"), `${JSON.stringify(all, null, 1)}\n`);
  });

  async function check(name: string, measured: Measured & { console: string }): Promise<void> {
    const { console: said, ...figures } = measured;
    all[name] = figures;
    console.log(`${name}: ${JSON.stringify(figures)}\n${said.slice(-120)}`);
    expect(holds(figures.p99Ms), JSON.stringify(figures.p99Ms)).toBe(true);
    for (const grown of [figures.channelMib, figures.keeperMib, figures.agentMib])
      expect(grown).toBeLessThanOrEqual(32);
    expect(figures.shares.loud).toBeGreaterThan(0.1);
    expect(figures.logBytes).toBeLessThanOrEqual(1 << 20);
    expect(stand.host.leftovers()).toEqual(before);
  }

  const hostile = {
    "a stream into its vsock": "hostile=stream rounds=1000000",
    "a console that never ends": "hostile=console rounds=1000000",
    "notifications of queues": "hostile=storm rounds=1000000",
  };
  it.each(Object.entries(hostile))("%s", { timeout }, async (name, words) => {
    await check(name, await stand.measure(() => stand.hostile(words)));
  });

  const honest = {
    "a full disk": "cat /dev/zero > /root/full; while :; do cat /dev/zero > /root/full; done",
    "a fork bomb": "bomb() { bomb | bomb & }; bomb; while :; do bomb; done",
    "a memory bomb": "while :; do python3 -c 'x = []\nwhile True: x.append(bytearray(1 << 20))'; done",
    "an output that nobody reads": "exec cat /dev/zero",
  };
  it.each(Object.entries(honest))("%s", { timeout }, async (name, script) => {
    await check(name, await stand.measure(() => stand.honest(script)));
  });

  it("100,000 connections", { timeout }, async () => {
    const all = /hostile: \d{6,} connections/;
    const measured = await stand.measure(() => stand.hostile("hostile=connections rounds=1000000"), all);
    await check("100,000 connections", measured);
    expect(measured.console).toMatch(all);
  });
});
