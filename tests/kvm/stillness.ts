import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { cpuMs } from "../../tools/bench-kvm/cpu-time.ts";

/** What must not disturb a measurement. */

setFlagsFromString("--expose-gc");
/** Garbage of this process, which measures: emulated, a collection takes half a second, and would fall into some exec. */
export const collectOwn = runInNewContext("gc") as () => void;

/**
 * Freezing takes a while. The group's own word for it (`frozen 1`) never comes: KVM keeps a kernel thread of its own in a
 * VM's group, and those are not frozen.
 * @throws when it still takes CPU time after ten seconds
 */
export async function standsStill(group: string): Promise<void> {
  let [before, equal] = [-1, 0];
  await until("the flood is not frozen", () => {
    const now = cpuMs(group);
    equal = now === before ? equal + 1 : 0;
    before = now;
    return equal === stillLooks;
  });
}

/** @throws when it takes no CPU time within ten seconds: the flood has ended */
export async function goesOn(group: string): Promise<void> {
  const before = cpuMs(group);
  await until("the flood has ended", () => cpuMs(group) > before);
}

/** Somebody who wants the processor gets it within so many looks, whatever he weighs. */
const stillLooks = 5;
const lookMs = 20;
const patienceMs = 10_000;

async function until(otherwise: string, done: () => boolean): Promise<void> {
  for (const endMs = performance.now() + patienceMs; performance.now() < endMs; await sleep(lookMs)) if (done()) return;
  throw new Error(otherwise);
}
