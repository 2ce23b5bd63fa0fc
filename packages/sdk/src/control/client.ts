import { randomUUID } from "node:crypto";
import { type Endpoint, endpoint, problem, type Workspace, workspace, workspaceList } from "@exai/api";
import { type Clock, systemClock, type WorkspaceId } from "@exai/base";
import { SdkError, type SdkErrorCode } from "../errors.ts";
import type { HttpAnswer, HttpClient, HttpRequest } from "./http.ts";

/** Longest wait of one long poll, milliseconds; the control plane may answer earlier. */
const pollMs = 25_000;
const answerMs = 30_000;
/** A control plane that is being started again is asked again for this long. */
const patienceMs = 5000;
const mostPages = 1000;

interface Schema<T> {
  parse(value: unknown): T;
}

export interface ListFilter {
  readonly name?: string;
  /** Also those that were destroyed, for some days. */
  readonly ended?: boolean;
}

/** The control plane's HTTP API, version 1, as a tenant sees it. Answers are parsed, and still only claims. */
export class ControlClient implements Disposable {
  readonly #http: HttpClient;
  readonly #token: () => string;
  readonly #clock: Clock;
  constructor(http: HttpClient, token: () => string, clock: Clock = systemClock) {
    this.#http = http;
    this.#token = token;
    this.#clock = clock;
  }

  create(intent: string, signal?: AbortSignal): Promise<Workspace> {
    return this.#call(workspace, { method: "POST", path: "/v1/workspaces", body: { intent }, ...once() }, signal);
  }

  /** Hands on a signed start, stop or destroy. */
  submit(id: WorkspaceId, intent: string, signal?: AbortSignal): Promise<Workspace> {
    const path = `/v1/workspaces/${id}/intents`;
    return this.#call(workspace, { method: "POST", path, body: { intent }, ...once() }, signal);
  }

  /** With `waitAfter` the answer waits for a higher revision, or comes unchanged after `waitMs`. */
  get(id: WorkspaceId, wait?: { waitAfter: number; waitMs?: number }, signal?: AbortSignal): Promise<Workspace> {
    const waitMs = Math.min(wait?.waitMs ?? pollMs, pollMs);
    const query = wait === undefined ? "" : `?waitAfter=${wait.waitAfter}&waitMs=${waitMs}`;
    return this.#call(workspace, { method: "GET", path: `/v1/workspaces/${id}${query}` }, signal, waitMs + answerMs);
  }

  /** All workspaces, page by page. */
  async *list(filter: ListFilter = {}, signal?: AbortSignal): AsyncGenerator<Workspace> {
    let cursor: string | undefined;
    for (let page = 0; page < mostPages; page++) {
      const search = new URLSearchParams({ limit: "1000" });
      if (filter.name !== undefined) search.set("name", filter.name);
      if (filter.ended === true) search.set("state", "all");
      if (cursor !== undefined) search.set("cursor", cursor);
      const query = `?${search}`;
      const answer = await this.#call(workspaceList, { method: "GET", path: `/v1/workspaces${query}` }, signal);
      yield* answer.items;
      cursor = answer.nextCursor;
      if (cursor === undefined) return;
    }
    throw new SdkError("bad-answer", "the control plane's list does not end");
  }

  /** Where this tenant's channels listen, one a host. */
  async endpoints(signal?: AbortSignal): Promise<Endpoint[]> {
    const answer = await this.#call(endpointList, { method: "GET", path: "/v1/endpoints" }, signal);
    return answer.items;
  }

  [Symbol.dispose](): void {
    this.#http[Symbol.dispose]();
  }

  async #call<T>(
    schema: Schema<T>,
    request: Omit<HttpRequest, "timeoutMs">,
    signal: AbortSignal | undefined,
    timeoutMs = answerMs,
  ): Promise<T> {
    const until = this.#clock.monotonicMs() + patienceMs;
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 800)) {
      try {
        const headers = { ...request.headers, authorization: `Bearer ${this.#token()}` };
        return accept(schema, await this.#http.send({ ...request, headers, timeoutMs, signal }));
      } catch (error) {
        // Every request may be repeated: reads are reads, and a write carries its idempotency key.
        const again = error instanceof SdkError && error.code === "unreachable" && isTransient(error.cause);
        if (!again || this.#clock.monotonicMs() > until) throw error;
      }
      await this.#clock.sleep(pauseMs, signal);
    }
  }
}

const endpointList: Schema<{ items: Endpoint[] }> = {
  parse: (value) => {
    const items = typeof value === "object" && value !== null && "items" in value ? value.items : undefined;
    if (!Array.isArray(items) || items.length > 1000) throw new Error("not a list of endpoints");
    return { items: items.map((item) => endpoint.parse(item)) };
  },
};

const once = () => ({ headers: { "idempotency-key": randomUUID() } });

/** No socket file means that no stack runs; only a refused or broken connection may come back. */
const isTransient = (cause: unknown): boolean =>
  cause instanceof Error && ["ECONNREFUSED", "ECONNRESET", "EPIPE"].includes(cause.message);

const codeOfStatus: Readonly<Record<number, SdkErrorCode>> = {
  400: "invalid",
  401: "unauthenticated",
  403: "denied",
  404: "not-found",
  409: "conflict",
  410: "not-found",
  412: "precondition",
  413: "invalid",
  415: "invalid",
  422: "invalid",
  429: "exhausted",
  503: "unreachable",
  507: "exhausted",
};

function accept<T>(schema: Schema<T>, answer: HttpAnswer): T {
  if (answer.status >= 200 && answer.status < 300) {
    try {
      return schema.parse(answer.body);
    } catch (cause) {
      throw new SdkError("bad-answer", "the control plane's answer breaks its contract", { cause });
    }
  }
  const said = problem.safeParse(answer.body);
  const text = said.success ? (said.data.detail ?? said.data.title) : `it answered with status ${answer.status}`;
  throw new SdkError(codeOfStatus[answer.status] ?? "internal", text.slice(0, 500));
}
