import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type DesiredWorkspace, type Observation, type PollRequest, pollRequest } from "@exai/api";
import type { WorkspaceId } from "@exai/base";

/** A desired workspace, or whatever else a liar puts there. */
export type Claimed = DesiredWorkspace | Readonly<Record<string, unknown>>;

interface Waiting {
  readonly body: PollRequest;
  readonly response: ServerResponse;
}

/**
 * Stands where the control plane stands and says what the test wants. It is strict about the host: a poll that breaks
 * the contract fails the test.
 */
export class LyingControlPlane implements AsyncDisposable {
  readonly #server: Server;
  readonly #waiting = new Set<Waiting>();
  readonly #news = new Set<() => void>();
  readonly #seen = new Map<string, Observation>();
  #desired: readonly Claimed[] = [];
  #version = 1;
  /** The version that the host named last: it has taken everything up to that one. */
  #taken = 0;
  #raw: ((response: ServerResponse) => void) | undefined;
  polls = 0;
  broken: unknown;

  private constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  static async start(socket: string): Promise<LyingControlPlane> {
    const plane = new LyingControlPlane();
    await new Promise<void>((resolve) => plane.#server.listen(socket, resolve));
    return plane;
  }

  /** Says that this is all that is desired; returns when the host has taken it in. */
  async say(desired: readonly Claimed[]): Promise<void> {
    this.#raw = undefined;
    this.#desired = desired;
    const version = ++this.#version;
    this.#flush();
    await this.until(() => this.#taken === version, "the host took the list");
  }

  /** Answers every poll with something else; returns when the host has asked again after `times` such answers. */
  async misbehave(answer: (response: ServerResponse) => void, times = 3): Promise<void> {
    this.#raw = answer;
    const from = this.polls;
    this.#flush();
    await this.until(() => this.polls >= from + times, "the host asked again");
  }

  /** What the host said last of a workspace. */
  observed(workspace: WorkspaceId): Observation | undefined {
    return this.#seen.get(workspace);
  }

  phase(workspace: WorkspaceId): string | undefined {
    return this.#seen.get(workspace)?.phase;
  }

  /** @throws Error naming what did not come within 15 s */
  async until(condition: () => boolean, what: string): Promise<void> {
    const untilMs = performance.now() + 15_000;
    while (!condition()) {
      if (this.broken !== undefined) throw new Error("the host broke the contract", { cause: this.broken });
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0) throw new Error(`not within 15 s: ${what}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(leftMs, 100));
        this.#news.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
      this.#news.clear();
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
      const body = pollRequest.parse(JSON.parse(Buffer.concat(chunks).toString("utf8")));
      for (const each of body.observations) this.#seen.set(each.workspace, each);
      if (body.waitMs > 0) {
        this.polls++;
        this.#taken = body.version;
      }
      this.#waiting.add({ body, response });
      this.#flush();
      for (const wake of this.#news) wake();
    } catch (error) {
      this.broken = error;
      response.writeHead(500).end();
    }
  }

  #flush(): void {
    for (const each of this.#waiting) {
      if (this.#raw === undefined && each.body.waitMs > 0 && each.body.version === this.#version) continue;
      this.#waiting.delete(each);
      if (this.#raw !== undefined) this.#raw(each.response);
      else {
        const text = JSON.stringify({ version: this.#version, desired: this.#desired });
        each.response.writeHead(200, { "content-type": "application/json" }).end(text);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
