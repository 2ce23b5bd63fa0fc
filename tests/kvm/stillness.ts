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
  const untilMs = performance.now() + 10_000;
  for (let before = -1; performance.now() < untilMs; await sleep(20)) {
    const now = cpuMs(group);
    if (now === before) return;
    before = now;
  }
  throw new Error("the flood is not frozen");
}
