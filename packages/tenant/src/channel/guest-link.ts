import { existsSync } from "node:fs";
import { join } from "node:path";
import { FolderChanges } from "@exai/audit";
import { type Clock, errorCode, type Logger, type WorkspaceId } from "@exai/base";
import { connectGuest, GuestError, type GuestSession } from "@exai/machine/guest";
import { TenantError } from "../errors.ts";
import { channelLimits } from "./limits.ts";
import { Reconnects } from "./reconnects.ts";

export interface LinkOptions {
  readonly workspace: WorkspaceId;
  /** `vm/<workspace>`: the socket appears in it when a VMM is launched. */
  readonly folder: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** `absent`: nobody listens. `booting`: connected, no hello yet. `broken`: the guest breaks its contract. */
type LinkState = "absent" | "booting" | "live" | "broken";

interface Waiter {
  resolve(session: GuestSession): void;
  reject(error: TenantError): void;
}

/** A socket without a listener is tried this often at first, then left alone until something changes. */
const eagerMs = 10;
const eagerTries = 100;
const brokenPauseMs = 1000;
/** Longest wait for a hello: a guest that never says it costs one connection. */
const helloMs = 600_000;

/** Keeps one session with one workspace's guest, over every launch, crash and reboot, while its folder exists. */
export class GuestLink implements Disposable {
  readonly #o: LinkOptions;
  readonly #stop = new AbortController();
  readonly #waiters = new Set<Waiter>();
  readonly #reconnects = new Reconnects();
  #state: LinkState = "absent";
  #session: GuestSession | undefined;
  #tries = 0;
  /** Only while nobody listens: logs of a VMM that runs lie in the folder too, and each line would be an event. */
  #changes: FolderChanges | undefined;
  #wake: (() => void) | undefined;

  constructor(options: LinkOptions) {
    this.#o = options;
  }

  get waiting(): number {
    return this.#waiters.size;
  }
  get session(): GuestSession | undefined {
    return this.#session;
  }

  /** Returns when the folder is gone or the link was disposed. */
  async run(): Promise<void> {
    try {
      while (!this.#stop.signal.aborted && existsSync(this.#o.folder)) await this.#once();
    } finally {
      this[Symbol.dispose]();
    }
  }

  async #once(): Promise<void> {
    const { workspace, folder, clock } = this.#o;
    const socket = join(folder, "guest.sock");
    if (!existsSync(socket)) return this.#rest();
    const startMs = clock.monotonicMs();
    try {
      this.#state = "booting";
      const limits = { helloTimeoutMs: helloMs };
      const { signal } = this.#stop;
      const connected = () => this.#unwatch();
      using session = await connectGuest(socket, { hostname: workspace, limits, signal, connected });
      this.#live(session);
      const liveMs = clock.monotonicMs();
      await this.#ended(await session.lost, liveMs);
    } catch (error) {
      await this.#failed(error, startMs);
    }
  }

  #live(session: GuestSession): void {
    this.#session = session;
    this.#state = "live";
    this.#tries = 0;
    for (const waiter of this.#waiters) waiter.resolve(session);
    this.#waiters.clear();
  }

  async #ended(fault: GuestError, startMs: number): Promise<void> {
    this.#session = undefined;
    this.#state = "booting";
    this.#tries = 0;
    const { pauseMs, told } = this.#reconnects.ended(startMs, this.#o.clock.monotonicMs());
    const broken = fault.code === "guest-misbehaved";
    if (broken || told) this.#tell(broken ? "warn" : "info", fault);
    if (broken) await this.#broken(fault);
    else if (pauseMs > 0) await this.#pause(pauseMs);
  }

  #tell(level: "warn" | "info", { code, message }: GuestError): void {
    this.#o.logger.log(level, "a guest's channel ended", { workspace: this.#o.workspace, code, why: message });
  }

  async #failed(error: unknown, startMs: number): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const code = error instanceof GuestError ? error.code : undefined;
    if (code === "no-guest") return this.#rest();
    // Somebody is there and says no hello: the rest of an old conversation, or noise without an end.
    if (code === "channel-lost") {
      const { pauseMs, told } = this.#reconnects.ended(startMs, this.#o.clock.monotonicMs());
      if (told) this.#tell("info", error as GuestError);
      return this.#pause(pauseMs);
    }
    if (code === "guest-misbehaved" || code === "wrong-contract") return this.#broken(error as GuestError);
    this.#o.logger.log("error", "a guest could not be reached", {
      workspace: this.#o.workspace,
      code: errorCode(error) ?? "unknown",
    });
    await this.#pause(brokenPauseMs);
  }

  async #broken(fault: GuestError): Promise<void> {
    this.#state = "broken";
    for (const waiter of this.#waiters) waiter.reject(brokenGuest(fault));
    this.#waiters.clear();
    await this.#pause(brokenPauseMs);
  }

  /** While nobody listens: short while there is hope or somebody waits, else until the folder changes. */
  async #rest(): Promise<void> {
    this.#state = "absent";
    // Whoever was there is gone, and the next one is somebody else.
    this.#reconnects.forget();
    if (this.#tries++ < eagerTries) return this.#pause(eagerMs);
    if (this.#waiters.size > 0) return this.#pause(eagerMs * 5);
    if (this.#changes === undefined) {
      // What happened before it watched is seen by one more try.
      this.#changes = new FolderChanges(this.#o.folder, true, "entries");
      return;
    }
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    // A call wakes it, a change does, and once a second it looks by itself.
    await this.#changes.wait(AbortSignal.any([woken.signal, this.#stop.signal]));
    this.#wake = undefined;
  }

  #unwatch(): void {
    this.#changes?.[Symbol.dispose]();
    this.#changes = undefined;
  }

  async #pause(ms: number): Promise<void> {
    await this.#o.clock.sleep(ms, this.#stop.signal).catch(() => undefined);
  }

  /**
   * The live session, as soon as there is one.
   * @throws TenantError `not-ready` after the time, `broken-guest`, `busy`; the signal's reason
   */
  async acquire(timeoutMs: { absent: number; boot: number }, signal: AbortSignal | undefined): Promise<GuestSession> {
    if (this.#session !== undefined) return this.#session;
    if (this.#waiters.size >= channelLimits.waitersPerWorkspace) throw tooMany();
    const { promise, resolve, reject } = Promise.withResolvers<GuestSession>();
    const waiter: Waiter = { resolve, reject };
    this.#waiters.add(waiter);
    this.#wake?.();
    const startMs = this.#o.clock.monotonicMs();
    const check = () => {
      const waitedMs = this.#o.clock.monotonicMs() - startMs;
      const booting = this.#state === "booting";
      if (waitedMs < (booting ? timeoutMs.boot : timeoutMs.absent)) return;
      reject(booting ? notReady() : noVm());
    };
    const timer = setInterval(check, Math.max(5, Math.min(100, timeoutMs.absent, timeoutMs.boot)));
    const abort = () => reject(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted) abort();
    try {
      return await promise;
    } finally {
      clearInterval(timer);
      signal?.removeEventListener("abort", abort);
      this.#waiters.delete(waiter);
    }
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#session?.[Symbol.dispose]();
    this.#session = undefined;
    this.#unwatch();
    for (const waiter of this.#waiters) waiter.reject(noVm());
    this.#waiters.clear();
  }
}

export const noVm = (): TenantError =>
  new TenantError("no-vm", "the workspace does not run on this host; start it, or wait until it was started");
const notReady = (): TenantError => new TenantError("not-ready", "the guest is still starting; see its console log");
const brokenGuest = (cause: GuestError): TenantError =>
  new TenantError("broken-guest", "the guest broke its contract, and its channel was cut", { cause });
export const tooMany = (): TenantError => new TenantError("busy", "too many calls wait for this workspace's guest");
