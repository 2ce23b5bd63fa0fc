/** What the tour prints: each line with the seconds since the start. */
export class Steps {
  readonly #startedMs: number;
  #progressShown = false;

  constructor(startedMs: number) {
    this.#startedMs = startedMs;
  }

  say(text: string): void {
    this.#clear();
    const seconds = ((Date.now() - this.#startedMs) / 1000).toFixed(1).padStart(6);
    process.stdout.write(`${seconds} s  ${text}\n`);
  }

  /** A line that the next one replaces, on a terminal only. */
  progress(text: string): void {
    if (!process.stdout.isTTY) return;
    process.stdout.write(`\r\x1b[K          ${text}`);
    this.#progressShown = true;
  }

  async time<T>(title: string, step: () => Promise<T>): Promise<T> {
    const from = performance.now();
    const result = await step();
    this.say(`${title}: ${((performance.now() - from) / 1000).toFixed(2)} s`);
    return result;
  }

  #clear(): void {
    if (this.#progressShown) process.stdout.write("\r\x1b[K");
    this.#progressShown = false;
  }
}
