import type { WorkspaceId } from "@exai/base";
import { HostError } from "../errors.ts";

export interface Need {
  readonly memoryMib: number;
  /** Virtual CPUs; each needs a core where the host can hold one for it. */
  readonly cpus: number;
}

/**
 * What is promised to running VMs. Memory is never oversold, nor are cores where the host gives each virtual CPU its own;
 * where it can't, status says so.
 */
export class Capacity {
  readonly #limit: { memoryMib: number; vms: number };
  readonly #volumes = new Map<WorkspaceId, number>();
  readonly #promised = new Map<WorkspaceId, Need>();

  constructor(limit: { memoryMib: number; vms: number }) {
    this.#limit = limit;
  }

  get promisedMib(): number {
    const volumes = this.#volumes.values().reduce((sum, mib) => sum + mib, 0);
    return this.#sum((need) => need.memoryMib) + volumes;
  }

  /** What a workspace's volumes may take, whether it runs or not: a snapshot lies in memory. */
  holdVolumes(workspace: WorkspaceId, memoryMib: number): void {
    if (memoryMib === 0) this.#volumes.delete(workspace);
    else this.#volumes.set(workspace, memoryMib);
  }

  get promisedCpus(): number {
    return this.#sum((need) => need.cpus);
  }

  #sum(of: (need: Need) => number): number {
    return this.#promised.values().reduce((sum, need) => sum + of(need), 0);
  }

  /**
   * @param cores for virtual CPUs on this host, used ones among them; undefined where none is held for them
   * @throws HostError `admission` when it does not fit
   */
  reserve(workspace: WorkspaceId, need: Need, cores: number | undefined): void {
    if (this.#promised.has(workspace)) return;
    if (this.#promised.size >= this.#limit.vms) {
      throw new HostError("admission", `this host runs at most ${this.#limit.vms} microVMs; stop one first`);
    }
    const { memoryMib, cpus } = need;
    const free = this.#limit.memoryMib - this.promisedMib;
    if (memoryMib > free) {
      throw new HostError(
        "admission",
        `${memoryMib} MiB of memory do not fit: ${Math.max(0, free)} MiB are free on this host; stop a workspace first`,
      );
    }
    const freeCores = cores === undefined ? cpus : Math.max(0, cores - this.promisedCpus);
    if (cpus > freeCores) {
      const own = cpus === 1 ? "1 virtual CPU needs a core of its own" : `${cpus} virtual CPUs need a core each`;
      throw new HostError(
        "admission",
        `${own}: ${freeCores} of ${cores} are free on this host; stop a workspace first`,
      );
    }
    this.#promised.set(workspace, need);
  }

  /** Counts what runs already, whether it fits or not. */
  adopt(workspace: WorkspaceId, need: Need): void {
    this.#promised.set(workspace, need);
  }

  release(workspace: WorkspaceId): void {
    this.#promised.delete(workspace);
  }
}
