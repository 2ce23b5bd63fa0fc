import type { ClientHttp2Stream } from "node:http2";

/**
 * Takes what a response holds, when asked. Node's own async iterator of an HTTP/2 stream starts late and then takes
 * a response that came and ended in one go for one that broke off.
 */
export class StreamReader {
  readonly #stream: ClientHttp2Stream;
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(stream: ClientHttp2Stream) {
    this.#stream = stream;
    const wake = () => this.#wake();
    stream.on("readable", wake);
    stream.on("close", wake);
    stream.on("end", () => {
      this.#ended = true;
      wake();
    });
  }

  /** All that is there, or what comes next; undefined when the response has ended or the stream was destroyed. */
  async read(): Promise<Buffer | undefined> {
    for (;;) {
      const chunk: Buffer | null = this.#stream.read();
      if (chunk !== null) return chunk;
      if (this.#ended || this.#stream.destroyed) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
