import type { WorkspaceId } from "@exai/base";
import { HostError } from "../errors.ts";

/** What is promised to running VMs. Memory is never oversold; virtual CPUs may be, and status says so. */
export class Capacity {
  readonly #limit: { memoryMib: number; vms: number };
  readonly #promised = new Map<WorkspaceId, number>();

  constructor(limit: { memoryMib: number; vms: number }) {
    this.#limit = limit;
  }

  get promisedMib(): number {
    return this.#promised.values().reduce((sum, mib) => sum + mib, 0);
  }

  /** @throws HostError `admission` when it does not fit */
  reserve(workspace: WorkspaceId, memoryMib: number): void {
    if (this.#promised.has(workspace)) return;
    if (this.#promised.size >= this.#limit.vms) {
      throw new HostError("admission", `this host runs at most ${this.#limit.vms} microVMs; stop one first`);
    }
    const free = this.#limit.memoryMib - this.promisedMib;
    if (memoryMib > free) {
      throw new HostError(
        "admission",
        `${memoryMib} MiB of memory do not fit: ${Math.max(0, free)} MiB are free on this host`,
      );
    }
    this.#promised.set(workspace, memoryMib);
  }

  /** Counts what runs already, whether it fits or not. */
  adopt(workspace: WorkspaceId, memoryMib: number): void {
    this.#promised.set(workspace, memoryMib);
  }

  release(workspace: WorkspaceId): void {
    this.#promised.delete(workspace);
  }
}
