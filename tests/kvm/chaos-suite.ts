import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { planFirecracker } from "@exai/machine";
import { expect, it } from "vitest";
import { Random } from "../../tools/chaos/random.ts";
import { firecrackerFolder } from "../../tools/nested-host/firecracker.ts";
import { devices, seenOf } from "../support/host-view.ts";
import { HostFixture } from "../vm/host-fixture.ts";
import { Chaos, kinds } from "./chaos.ts";
import { bootFiles, imageStore, keptFolder } from "./where.ts";

/** @param options.seed of the run to repeat; printed, so that a failure is a seed */
export function describeChaos(options: { kills: number; longestMs: number; seed: number }): void {
  const { kills, longestMs, seed } = options;
  it(`leaves nothing after ${kills} kills (seed ${seed})`, { timeout: longestMs }, async () => {
    await using host = new HostFixture({ imageStore, firecracker: join(firecrackerFolder(), "firecracker") });
    const before = devices();
    const plan = planFirecracker(bootFiles("base"), { cpus: 1, memoryMib: 128 });
    let adopted = 0;
    let counts: Record<string, number> = {};
    {
      await using chaos = await Chaos.begin(host, plan, new Random(seed));
      while (chaos.total < kills) await chaos.round();
      adopted = await chaos.end();
      counts = Object.fromEntries(chaos.kills);
    }
    const left = { ...counts, adopted, seen: seenOf(host) };
    writeFileSync(join(keptFolder(), "chaos.json"), `${JSON.stringify({ seed, ...left }, null, 1)}\n`);
    console.log(`chaos, seed ${seed}: ${JSON.stringify(left)}`);
    expect(left.seen).toEqual([]);
    expect(devices()).toEqual(before);
    if (kills >= 50) expect(Object.keys(counts).sort()).toEqual([...kinds].sort());
  });
}

/** The run's own seed, or the one that is to be repeated. */
export const chosenSeed = (): number => Number(process.env["EXAI_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
