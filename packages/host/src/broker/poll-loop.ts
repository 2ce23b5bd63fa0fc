import type { DesiredWorkspace, Observation, PollRequest, PollResponse } from "@exai/api";
import {
  type Clock,
  describeError,
  errorCode,
  type HostId,
  type Logger,
  type TenantId,
  type WorkspaceId,
} from "@exai/base";
import { Notifier } from "./notifier.ts";

const longPollMs = 25_000;
const longestBackoffMs = 5_000;
const batch = 500;
/** Between two answers that are applied. */
const leastMs = 10;
/**
 * How long word of a phase that passes may wait for the next: a boot or a removal is then told in one report, not in three,
 * each of which costs both sides a request and a commit.
 */
const gatherMs = 100;
const passingPhases: ReadonlySet<Observation["phase"]> = new Set(["created", "booting", "stopping", "destroying"]);

export interface PollLoopOptions {
  host: HostId;
  poll(body: PollRequest, signal: AbortSignal): Promise<PollResponse>;
  apply(all: readonly DesiredWorkspace[]): Promise<void>;
  endpoints(): readonly { tenant: TenantId; url: string }[];
  clock: Clock;
  logger: Logger;
  signal: AbortSignal;
}

/**
 * Two loops to the control plane: one waits for news, the other tells ours as soon as there are any. Both only dial
 * out. A control plane that is away changes nothing on this host.
 */
export class PollLoop {
  readonly #o: PollLoopOptions;
  readonly #news = new Notifier();
  readonly #unsent = new Map<WorkspaceId, Observation>();
  #gathering: NodeJS.Timeout | undefined;
  #version = 0;
  #connected = false;

  constructor(options: PollLoopOptions) {
    this.#o = options;
    options.signal.addEventListener("abort", () => this.nudge(), { once: true });
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** The newest word on a workspace; older unsent ones are replaced. `passing`: another will follow soon. */
  tell(observation: Observation, passing = passingPhases.has(observation.phase)): void {
    this.#unsent.set(observation.workspace, observation);
    if (passing) this.#gathering ??= setTimeout(() => this.nudge(), gatherMs);
    else this.nudge();
  }

  /** Whatever there is to tell is told now; endpoints have changed, for one. */
  nudge(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    this.#news.notify();
  }

  async run(): Promise<void> {
    await Promise.all([this.#repeat(() => this.#listen()), this.#repeat(() => this.#report())]);
  }

  async #repeat(step: () => Promise<void>): Promise<void> {
    let backoffMs = 20;
    while (!this.#o.signal.aborted) {
      try {
        await step();
        this.#connected = true;
        backoffMs = 20;
      } catch (error) {
        if (this.#o.signal.aborted) return;
        if (this.#connected)
          this.#o.logger.log("warn", "the control plane is away", {
            reason: describeError(error),
            code: errorCode(error),
          });
        this.#connected = false;
        await this.#pause(backoffMs);
        backoffMs = Math.min(backoffMs * 2, longestBackoffMs);
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    await this.#o.clock.sleep(ms, this.#o.signal).catch(() => undefined);
  }

  async #listen(): Promise<void> {
    const fromMs = this.#o.clock.monotonicMs();
    const answer = await this.#o.poll(this.#request(longPollMs, []), this.#o.signal);
    this.#version = answer.version;
    if (answer.desired !== undefined) await this.#o.apply(answer.desired);
    // One that always has news would keep this process, the disk and the node agent busy for nothing.
    await this.#pause(Math.max(0, leastMs - (this.#o.clock.monotonicMs() - fromMs)));
  }

  async #report(): Promise<void> {
    await this.#news.wait(longPollMs);
    const sending = [...this.#unsent.values()].slice(0, batch);
    await this.#o.poll(this.#request(0, sending), this.#o.signal);
    for (const each of sending) {
      // What was told meanwhile is newer and stays.
      if (this.#unsent.get(each.workspace) === each) this.#unsent.delete(each.workspace);
    }
    if (this.#unsent.size > 0) this.#news.notify();
  }

  #request(waitMs: number, observations: Observation[]): PollRequest {
    return { host: this.#o.host, version: this.#version, waitMs, observations, endpoints: [...this.#o.endpoints()] };
  }
}
