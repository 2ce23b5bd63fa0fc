import { SdkError } from "./errors.ts";

interface Options {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** What a caller gets whose time is over. */
  readonly late: () => SdkError;
}

/**
 * One wait for several callers. Each leaves by its own signal or time and takes nothing from the others; the wait ends with
 * the last of them. What it brought stays; what it threw does not.
 */
export class SharedWait {
  readonly #abort = new AbortController();
  readonly #result: Promise<void>;
  #callers = 0;
  /** Nobody should join any more: it failed, or everybody left. */
  over = false;

  constructor(start: (signal: AbortSignal) => Promise<void>) {
    this.#result = start(this.#abort.signal);
    this.#result.catch(() => {
      this.over = true;
    });
  }

  async join({ timeoutMs, signal, late }: Options): Promise<void> {
    const { promise: left, reject: leave } = Promise.withResolvers<never>();
    const cancel = () => leave(new SdkError("cancelled", "the wait for the guest was cancelled"));
    const timer = setTimeout(() => leave(late()), timeoutMs);
    signal?.addEventListener("abort", cancel, { once: true });
    if (signal?.aborted) cancel();
    this.#callers++;
    let done = false;
    try {
      await Promise.race([left, this.#result]);
      done = true;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
      if (--this.#callers === 0 && !done) this.#end();
    }
  }

  #end(): void {
    this.over = true;
    this.#abort.abort();
  }
}
