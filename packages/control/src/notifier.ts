import { ControlError } from "./errors.ts";

/** Of one tenant or host, and of all tenants. Hosts are few and enrolled; what waits for tenants never shuts one out. */
const mostOfOne = 256;
const mostOfTenants = 4096;

/** Who waits. */
export interface Waiting {
  readonly role: "tenant" | "host";
  readonly id: string;
}

/**
 * Wakes long polls in this process. Subscribe first, read the state second, wait third: then no change falls between.
 */
export class Notifier {
  readonly #topics = new Map<string, Set<Subscription>>();
  readonly #waiting = { tenant: 0, host: 0 };
  readonly #ofOne = new Map<string, number>();

  get waiting(): number {
    return this.#waiting.tenant + this.#waiting.host;
  }

  notify(topic: string): void {
    for (const each of this.#topics.get(topic) ?? []) each.wake();
  }

  /** @throws ControlError `too-many-waiting` */
  subscribe(topic: string, { role, id }: Waiting): Subscription {
    const own = this.#ofOne.get(id) ?? 0;
    if (own >= mostOfOne || (role === "tenant" && this.#waiting.tenant >= mostOfTenants)) {
      throw new ControlError("too-many-waiting", "too many requests wait for changes; try again in a few seconds");
    }
    const set = this.#topics.get(topic) ?? new Set();
    this.#topics.set(topic, set);
    const subscription: Subscription = new Subscription(() => {
      if (!set.delete(subscription)) return;
      this.#count(role, id, -1);
      if (set.size === 0) this.#topics.delete(topic);
    });
    set.add(subscription);
    this.#count(role, id, 1);
    return subscription;
  }

  #count(role: Waiting["role"], id: string, change: 1 | -1): void {
    this.#waiting[role] += change;
    const own = (this.#ofOne.get(id) ?? 0) + change;
    if (own === 0) this.#ofOne.delete(id);
    else this.#ofOne.set(id, own);
  }
}

export class Subscription implements Disposable {
  readonly #end: () => void;
  #woken = false;
  #wake: (() => void) | undefined;

  constructor(end: () => void) {
    this.#end = end;
  }

  wake(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** True when it was woken since the last wait; false after `ms` or when the signal fires. */
  async wait(ms: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#woken && ms > 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          signal.removeEventListener("abort", done);
          resolve();
        };
        const timer = setTimeout(done, ms);
        signal.addEventListener("abort", done);
        this.#wake = done;
      });
      this.#wake = undefined;
    }
    const woken = this.#woken;
    this.#woken = false;
    return woken;
  }

  [Symbol.dispose](): void {
    this.#end();
  }
}
