import { statfsSync } from "node:fs";
import type { VmContext } from "../context.ts";
import { NodeError } from "../errors.ts";
import { availableMib } from "./origin.ts";
import { isMounted, volumePaths, volumesOf } from "./volumes.ts";

/** What a host keeps for itself when a volume is made. */
const marginMib = 128;

/** A volume that is there may take all that it was promised, and so may one that is being made. */
export class VolumePromises {
  readonly #everyVm: () => readonly VmContext[];
  readonly #making = new Map<object, number>();

  /** @param everyVm of this host */
  constructor(everyVm: () => readonly VmContext[]) {
    this.#everyVm = everyVm;
  }

  /**
   * Held until it is disposed of, which is when the volume is there or was not made.
   * @throws NodeError `no-memory`
   */
  promise(sizeMib: number): Disposable {
    const growing = this.#everyVm().reduce((sum, vm) => sum + stillToGrowMib(vm), 0);
    const making = this.#making.values().reduce((sum, mib) => sum + mib, 0);
    const free = Math.max(0, availableMib() - growing - making - marginMib);
    if (sizeMib > free) {
      const there = `${free} MiB of memory are free on this host; stop a workspace first`;
      throw new NodeError("no-memory", `a volume of ${sizeMib} MiB does not fit: ${there}`);
    }
    const key = {};
    this.#making.set(key, sizeMib);
    return { [Symbol.dispose]: () => void this.#making.delete(key) };
  }
}

function stillToGrowMib(vm: VmContext): number {
  return volumesOf(vm)
    .filter((lifetime) => isMounted(vm, lifetime))
    .reduce((sum, lifetime) => {
      const { bfree, bsize } = statfsSync(volumePaths(vm, lifetime).at);
      return sum + Math.ceil((bfree * bsize) / 2 ** 20);
    }, 0);
}
