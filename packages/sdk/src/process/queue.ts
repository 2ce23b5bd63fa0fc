/**
 * A bounded queue of byte chunks between the one stream of an execution and a reader of stdout or stderr. `push` waits
 * while the queue is full, and that wait is the back-pressure down to the program.
 */
export class ByteQueue implements AsyncIterable<Uint8Array> {
  readonly #chunks: Uint8Array[] = [];
  readonly #limitBytes: number;
  #bytes = 0;
  #ended = false;
  #ignored = false;
  #error: unknown;
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  async push(chunk: Uint8Array): Promise<void> {
    if (this.#ignored || this.#ended) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    this.#wakeReader?.();
    while (this.#bytes > this.#limitBytes && !this.#ignored) {
      await new Promise<void>((resolve) => {
        this.#wakeWriter = resolve;
      });
    }
  }

  /** What was not read is dropped, and so is all that follows. */
  ignore(): void {
    this.#ignored = true;
    this.#chunks.length = 0;
    this.#bytes = 0;
    this.#wakeWriter?.();
  }

  end(error?: unknown): void {
    this.#ended = true;
    this.#error ??= error;
    this.#wakeReader?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const chunk = this.#chunks.shift();
        if (chunk !== undefined) {
          this.#bytes -= chunk.length;
          this.#wakeWriter?.();
          yield chunk;
        } else if (this.#error !== undefined) throw this.#error;
        else if (this.#ended) return;
        else {
          await new Promise<void>((resolve) => {
            this.#wakeReader = resolve;
          });
        }
      }
    } finally {
      this.ignore();
    }
  }
}
