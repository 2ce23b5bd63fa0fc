import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { cpuMs } from "../../tools/bench-kvm/cpu-time.ts";
import { until } from "../vm/launcher-fixture.ts";

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
  const still = await until(() => {
    const now = cpuMs(group);
    equal = now === before ? equal + 1 : 0;
    before = now;
    return equal === stillLooks;
  });
  if (!still) throw new Error("the flood is not frozen");
}

/** @throws when it takes no CPU time within ten seconds: the flood has ended */
export async function goesOn(group: string): Promise<void> {
  const before = cpuMs(group);
  if (!(await until(() => cpuMs(group) > before))) throw new Error("the flood has ended");
}

/** A tenth of a second: somebody who wants the processor gets it within that, whatever he weighs. */
const stillLooks = 10;
