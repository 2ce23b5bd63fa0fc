/**
 * Ctrl-C and its like. The first interrupt goes to `onFirst` where there is one (the command gets it); the next one, and
 * TERM or HUP at once, fire `signal`; one more after that ends this process.
 */
export class Interrupts implements Disposable {
  readonly #abort = new AbortController();
  readonly #handlers: [NodeJS.Signals, () => void][];
  onFirst: (() => void) | undefined;
  /** What to exit with, once `signal` has fired. */
  exitCode: number | undefined;

  constructor() {
    this.#handlers = [
      ["SIGINT", () => this.#interrupt()],
      ["SIGTERM", () => this.#leave(143)],
      ["SIGHUP", () => this.#leave(129)],
    ];
    for (const [signal, handler] of this.#handlers) process.on(signal, handler);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  #interrupt(): void {
    const first = this.onFirst;
    this.onFirst = undefined;
    if (first === undefined) this.#leave(130);
    else first();
  }

  #leave(code: number): void {
    if (this.exitCode !== undefined) process.exit(code);
    this.exitCode = code;
    this.#abort.abort();
  }

  [Symbol.dispose](): void {
    for (const [signal, handler] of this.#handlers) process.off(signal, handler);
  }
}
