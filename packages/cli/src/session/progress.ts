/** One line on standard error for a person who waits; nothing where nobody looks. */
export class Progress implements Disposable {
  readonly #enabled: boolean;
  readonly #since = performance.now();
  #what = "";
  #timer: NodeJS.Timeout | undefined;

  constructor(enabled: boolean) {
    this.#enabled = enabled;
  }

  show(what: string): void {
    if (!this.#enabled) return;
    this.#what = what;
    this.#draw();
    this.#timer ??= setInterval(() => this.#draw(), 100).unref();
  }

  clear(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    process.stderr.write("\r\x1b[K");
  }

  #draw(): void {
    const seconds = ((performance.now() - this.#since) / 1000).toFixed(1);
    process.stderr.write(`\r\x1b[K${this.#what}… ${seconds} s`);
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
