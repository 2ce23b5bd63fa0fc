const shortMs = 1000;
const firstPauseMs = 10;
const longestPauseMs = 1000;

/**
 * When to dial again after a connection that ended: at once after one that lived, later and later after short ones. A
 * guest that hangs up right after each hello, or that says anything but hello, must not take the time of its neighbours,
 * nor fill the log.
 */
export class Reconnects {
  #pauseMs = 0;
  #toldMs = Number.NEGATIVE_INFINITY;

  /** The next one that ends is the first. */
  forget(): void {
    this.#pauseMs = 0;
  }

  /** `told`: this end may be logged, which one a second may. */
  ended(startMs: number, nowMs: number): { pauseMs: number; told: boolean } {
    const short = nowMs - startMs < shortMs;
    this.#pauseMs = short ? Math.min(Math.max(firstPauseMs, this.#pauseMs * 2), longestPauseMs) : 0;
    const told = nowMs - this.#toldMs >= shortMs;
    if (told) this.#toldMs = nowMs;
    return { pauseMs: this.#pauseMs, told };
  }
}
