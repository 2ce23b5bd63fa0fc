import { errorCode } from "@exai/base";
import { LineFeeds } from "./line-feeds.ts";

const tailBytes = 4096;
const networkErrors =
  /could not resolve host|temporary failure in name resolution|name or service not known|network is unreachable|no address associated|getaddrinfo (?:EAI_AGAIN|ENOTFOUND)|ENETUNREACH|Failed to establish a new connection/i;

/** A program's output on this process's own, with its back-pressure. */
export class LocalOutput {
  readonly #tail = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) };
  readonly #broken = Promise.withResolvers<void>();
  #isBroken = false;
  readonly #feeds: LineFeeds | undefined;

  /** `terminal`: this process's terminal is in raw mode and shows a terminal of the guest. */
  constructor(options: { terminal: boolean }) {
    this.#feeds = options.terminal ? new LineFeeds() : undefined;
    for (const target of [process.stdout, process.stderr]) target.on("error", (error) => this.#onError(error));
  }

  /** Resolves when the reader of our output has gone (`exai run … | head`). */
  get broken(): Promise<void> {
    return this.#broken.promise;
  }

  write = (stream: "stdout" | "stderr", data: Uint8Array): void | Promise<void> => {
    const tail = Buffer.concat([this.#tail[stream], data.subarray(-tailBytes)]);
    this.#tail[stream] = tail.subarray(-tailBytes);
    if (this.#isBroken) return;
    const target = stream === "stdout" ? process.stdout : process.stderr;
    if (target.write(this.#feeds?.translate(data) ?? data)) return;
    return new Promise((resolve) => {
      target.once("drain", resolve);
      void this.broken.then(resolve);
    });
  };

  /** The program seems to have failed for want of a network. */
  get looksLikeNoNetwork(): boolean {
    return (
      networkErrors.test(this.#tail.stderr.toString("latin1")) ||
      networkErrors.test(this.#tail.stdout.toString("latin1"))
    );
  }

  #onError(error: Error): void {
    if (errorCode(error) !== "EPIPE") throw error;
    this.#isBroken = true;
    this.#broken.resolve();
  }
}
