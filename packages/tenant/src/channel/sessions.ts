import { readdirSync } from "node:fs";
import { join } from "node:path";
import { FolderChanges } from "@exai/audit";
import { type Clock, errorCode, isId, type Logger, type WorkspaceId } from "@exai/base";
import type { GuestSession } from "@exai/machine/guest";
import { GuestLink, noVm, tooMany } from "./guest-link.ts";
import { channelLimits } from "./limits.ts";

export interface SessionsOptions {
  /** `vm/` of the tenant's run folder: one folder a workspace. */
  readonly folder: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface AcquireOptions {
  /** How long at most to wait for a VM to appear, and for a guest that boots. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** The guests of one tenant on this host: a link for every folder in `vm/`. */
export class Sessions implements Disposable {
  readonly #o: SessionsOptions;
  readonly #links = new Map<WorkspaceId, GuestLink>();
  readonly #changes: FolderChanges;
  readonly #stop = new AbortController();
  /** Told when a link was added. */
  readonly #arrivals = new Set<() => void>();
  #waiting = 0;

  constructor(options: SessionsOptions) {
    this.#o = options;
    this.#changes = new FolderChanges(options.folder, true, "entries");
    void this.#watch();
  }

  get size(): number {
    return this.#links.size;
  }

  async #watch(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#scan();
      await this.#changes.wait(this.#stop.signal);
    }
  }

  #scan(): void {
    let names: string[];
    try {
      names = readdirSync(this.#o.folder);
    } catch (error) {
      if (errorCode(error) !== "ENOENT") this.#o.logger.log("error", "the run folder can't be read");
      return;
    }
    for (const name of names) if (isId(name) && !this.#links.has(name as WorkspaceId)) this.#add(name as WorkspaceId);
  }

  #add(workspace: WorkspaceId): void {
    const { folder, clock, logger } = this.#o;
    const link = new GuestLink({ workspace, folder: join(folder, workspace), clock, logger });
    this.#links.set(workspace, link);
    void link.run().finally(() => {
      if (this.#links.get(workspace) === link) this.#links.delete(workspace);
    });
    for (const arrived of this.#arrivals) arrived();
  }

  has(workspace: WorkspaceId): boolean {
    if (!this.#links.has(workspace)) this.#scan();
    return this.#links.has(workspace);
  }

  /** The session if there is one now. */
  peek(workspace: WorkspaceId): GuestSession | undefined {
    return this.#links.get(workspace)?.session;
  }

  /**
   * A session with the workspace's guest. A workspace that is still being made is waited for.
   * @throws TenantError `no-vm`, `not-ready`, `broken-guest`, `busy`; the signal's reason
   */
  async acquire(workspace: WorkspaceId | undefined, options: AcquireOptions = {}): Promise<GuestSession> {
    if (workspace === undefined) throw noVm();
    const now = this.peek(workspace);
    if (now !== undefined) return now;
    if (this.#waiting >= channelLimits.waiters) throw tooMany();
    this.#waiting++;
    try {
      const { absentMs, bootMs } = channelLimits;
      const startMs = this.#o.clock.monotonicMs();
      const link = await this.#linkOf(workspace, options.timeoutMs ?? absentMs, options.signal);
      const usedMs = this.#o.clock.monotonicMs() - startMs;
      const boot = (options.timeoutMs ?? bootMs) - usedMs;
      const absent = options.timeoutMs === undefined ? absentMs - usedMs : boot;
      return await link.acquire({ absent, boot }, options.signal);
    } finally {
      this.#waiting--;
    }
  }

  async #linkOf(workspace: WorkspaceId, timeoutMs: number, signal: AbortSignal | undefined): Promise<GuestLink> {
    if (this.has(workspace)) return this.#links.get(workspace) ?? failNoVm();
    const { promise, resolve, reject } = Promise.withResolvers<GuestLink>();
    const arrived = () => {
      const link = this.#links.get(workspace);
      if (link !== undefined) resolve(link);
    };
    const timer = setTimeout(() => reject(noVm()), timeoutMs);
    const abort = () => reject(signal?.reason);
    this.#arrivals.add(arrived);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted) abort();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#arrivals.delete(arrived);
      signal?.removeEventListener("abort", abort);
    }
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#changes[Symbol.dispose]();
    for (const link of this.#links.values()) link[Symbol.dispose]();
  }
}

function failNoVm(): never {
  throw noVm();
}
