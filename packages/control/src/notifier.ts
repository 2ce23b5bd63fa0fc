import { ControlError } from "./errors.ts";

const mostWaiting = 4096;

/**
 * Wakes long polls in this process. Subscribe first, read the state second, wait third: then no change falls between.
 */
export class Notifier {
  readonly #topics = new Map<string, Set<Subscription>>();
  #waiting = 0;

  get waiting(): number {
    return this.#waiting;
  }

  notify(topic: string): void {
    for (const each of this.#topics.get(topic) ?? []) each.wake();
  }

  /** @throws ControlError `too-many-waiting` */
  subscribe(topic: string): Subscription {
    if (this.#waiting >= mostWaiting) {
      throw new ControlError("too-many-waiting", "too many requests wait for changes; try again in a few seconds");
    }
    const set = this.#topics.get(topic) ?? new Set();
    this.#topics.set(topic, set);
    const subscription: Subscription = new Subscription(() => {
      if (!set.delete(subscription)) return;
      this.#waiting--;
      if (set.size === 0) this.#topics.delete(topic);
    });
    set.add(subscription);
    this.#waiting++;
    return subscription;
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
