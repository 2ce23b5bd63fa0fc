import type { GuestSession } from "@exai/machine";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { percentile } from "../../tools/bench/result.ts";
import { type Attack, attack, type HostileHost, launchHostile, type Outcome } from "./hostile-guest.ts";
import { Neighbour } from "./neighbour.ts";

/** Each kind of malformed queue and request; docs/internals/hostile-devices.md has them in words. */
export const malformed: readonly Attack[] = (
  [
    { name: "registers", rounds: 50 },
    { name: "queue-shapes", rounds: 50 },
    { name: "loops" },
    { name: "addresses" },
    { name: "lengths" },
    { name: "indirect" },
    { name: "next" },
    { name: "ring-entries" },
    { name: "ring-index" },
    { name: "requests" },
    { name: "resets", rounds: 20 },
    { name: "random" },
    { name: "storm", rounds: 10 },
  ] satisfies Attack[]
).map((each) => ({ seed: 1, ...each }));

/** What a VMM makes of them. */
export interface HostileSuite {
  name: string;
  makeHost: () => Promise<HostileHost>;
  attacks: readonly Attack[];
  /** Virtio types of all devices of a machine, sorted. */
  devices: readonly string[];
  /** Those of them that answer an honest request, so that an attack on them is known to arrive. */
  serving: readonly string[];
  /** Bound on what one VM may make the host keep. */
  logBytes: number;
  /** Whether this host can give each VM its share of the processors. */
  latency: boolean;
  keep?: (what: unknown) => void;
}

/** Those that leave a device no time to answer. */
const unserved = new Set(["registers", "queue-shapes", "resets", "storm"]);

export function describeHostileDevices(suite: HostileSuite): void {
  describe(`a guest that is hostile to its devices, ${suite.name}`, () => {
    let host: HostileHost;
    let guest: GuestSession;
    let neighbour: Neighbour;
    let before: string[];
    const neighbourMs: { alone: number; beside: number }[] = [];
    const ratio = (): number => Math.min(...neighbourMs.map(({ alone, beside }) => beside / alone));
    const outcomes: (Attack & Outcome)[] = [];

    beforeAll(async () => {
      host = await suite.makeHost();
      const vm = await host.driver.launch({ cpus: 1, memoryMib: 128, diskMib: 64 });
      guest = await vm.dial();
      neighbour = new Neighbour(guest);
      before = await host.driver.leftovers();
    });
    afterAll(async () => {
      guest?.[Symbol.dispose]();
      await host?.driver[Symbol.asyncDispose]();
      suite.keep?.({ neighbourMs, outcomes });
    });

    it.each(suite.attacks)("$name (seed $seed): the VMM goes on or ends, and nothing of it is left", async (of) => {
      const outcome = await attack(host, of);
      await neighbour.calls(1);
      outcomes.push({ ...of, ...outcome });
      const ends = outcome.endings.map(({ at, exit, killed, logBytes }) => ({ at, ...exit, killed, logBytes }));
      console.log(`${of.name}: ${JSON.stringify(ends)}`);
      expect(outcome.devices.sort()).toEqual(suite.devices);
      if (!unserved.has(of.name)) expect(outcome.served.sort()).toEqual(suite.serving);
      for (const { logBytes } of outcome.endings) expect(logBytes).toBeLessThanOrEqual(suite.logBytes);
      expect(await host.driver.leftovers()).toEqual(before);
    });

    // Not skipped, which would count as a failure: a suite whose clock can't be trusted makes no such promise.
    if (!suite.latency) return;
    it("the neighbour's p99 at most doubles beside one that never stops", async () => {
      await neighbour.calls(30);
      // On a busy machine timings only ever get worse by chance: the best of three counts.
      for (let round = 0; round < 3 && ratio() > 2; round++) {
        const alone = percentile(await neighbour.calls(60), 99);
        const vm = await launchHostile(host, "hostile=storm rounds=1000000");
        const beside = percentile(await neighbour.calls(60), 99);
        await vm.machine.destroy();
        neighbourMs.push({ alone, beside });
      }
      console.log(`neighbour's p99: ${JSON.stringify(neighbourMs)}`);
      expect(ratio()).toBeLessThanOrEqual(2);
    });
  });
}
