/**
 * How often something that anyone can cause is written down: `burst` times at once, and once in `everyMs` for ever. What
 * is passed over is counted, and told with the next that is not.
 */
export class Trickle {
  readonly #everyMs: number;
  readonly #burst: number;
  #left: number;
  #atMs = Number.NEGATIVE_INFINITY;
  #passedOver = 0;

  constructor(options: { burst: number; everyMs: number }) {
    this.#burst = options.burst;
    this.#left = options.burst;
    this.#everyMs = options.everyMs;
  }

  /** @returns how many were passed over before this one; undefined when this one is passed over, too */
  take(nowMs: number): number | undefined {
    const passedMs = Math.max(0, nowMs - this.#atMs);
    this.#left = Math.min(this.#burst, this.#left + passedMs / this.#everyMs);
    this.#atMs = nowMs;
    if (this.#left < 1) {
      this.#passedOver++;
      return undefined;
    }
    this.#left--;
    const before = this.#passedOver;
    this.#passedOver = 0;
    return before;
  }
}
