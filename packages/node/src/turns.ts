import type { WorkspaceId } from "@exai/base";

/** Steps of one workspace never overlap; those of several run side by side. */
export class Turns {
  readonly #queues = new Map<WorkspaceId, Promise<unknown>>();

  /** Whether a step of it runs or waits. */
  isTaken(workspace: WorkspaceId): boolean {
    return this.#queues.has(workspace);
  }

  async take<T>(workspace: WorkspaceId, work: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(workspace) ?? Promise.resolve();
    const mine = before.then(work, work);
    const settled = mine.then(
      () => undefined,
      () => undefined,
    );
    this.#queues.set(workspace, settled);
    try {
      return await mine;
    } finally {
      if (this.#queues.get(workspace) === settled) this.#queues.delete(workspace);
    }
  }

  /** A step of all of them. Always taken in one order, so that two such steps never wait for each other. */
  async takeAll<T>(workspaces: readonly WorkspaceId[], work: () => Promise<T>): Promise<T> {
    const [last, ...before] = [...new Set(workspaces)].toSorted().toReversed();
    if (last === undefined) return work();
    return this.takeAll(before, () => this.take(last, work));
  }
}
