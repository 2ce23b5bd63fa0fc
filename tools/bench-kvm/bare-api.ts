import { createConnection, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

const againMs = 5;
const longestMs = 60_000;

/**
 * Bare calls of Firecracker's API: one connection, one request after the other, an answer that is not 204 is an error. No HTTP
 * library, since under emulation its code would cost more than the calls.
 */
export class BareApi implements Disposable {
  readonly #socket: Socket;
  #rest = "";

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("latin1");
  }

  /** Returns when the first request is answered: a socket whose far end is not there yet ends at once. */
  static async open(path: string): Promise<BareApi> {
    for (const untilMs = performance.now() + longestMs; performance.now() < untilMs; await delay(againMs)) {
      const api = new BareApi(createConnection(path));
      try {
        await api.#ask("GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n", 200);
        return api;
      } catch {
        api[Symbol.dispose]();
      }
    }
    throw new Error("Firecracker has no API");
  }

  put(path: string, body: unknown): Promise<void> {
    return this.call("PUT", path, body);
  }

  /** @throws with Firecracker's own words */
  call(method: "PUT" | "PATCH", path: string, body: unknown): Promise<void> {
    const text = JSON.stringify(body);
    const type = "Content-Type: application/json";
    return this.#ask(
      `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n${type}\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
      204,
    );
  }

  async #ask(request: string, wanted: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fail = (error?: Error) => reject(error ?? new Error("Firecracker closed its API"));
    const take = (text: string) => {
      this.#rest += text;
      const head = this.#rest.indexOf("\r\n\r\n");
      if (head < 0) return;
      const length = Number(/content-length: *(\d+)/i.exec(this.#rest.slice(0, head))?.[1] ?? 0);
      if (this.#rest.length < head + 4 + length) return;
      const answer = this.#rest.slice(0, head + 4 + length);
      this.#rest = this.#rest.slice(answer.length);
      if (answer.startsWith(`HTTP/1.1 ${wanted}`)) resolve();
      else reject(new Error(`Firecracker answered ${answer}`));
    };
    const handlers = [
      ["data", take],
      ["error", fail],
      ["close", fail],
    ] as const;
    for (const [event, handler] of handlers) this.#socket.on(event, handler);
    this.#socket.write(request);
    try {
      await promise;
    } finally {
      for (const [event, handler] of handlers) this.#socket.off(event, handler);
    }
  }

  [Symbol.dispose](): void {
    this.#socket.on("error", () => undefined);
    this.#socket.destroy();
  }
}
