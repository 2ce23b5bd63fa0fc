import type { ClientRequest, IncomingMessage } from "node:http";
import { errorCode } from "@exai/base";
import { SdkError } from "../errors.ts";

export interface HttpAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface HttpRequest {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** One keep-alive connection pool to a control plane, which is not trusted: answers are bounded. */
export interface HttpClient extends Disposable {
  /** @throws SdkError `unreachable`, `timeout`, `cancelled`, `bad-answer` */
  send(request: HttpRequest): Promise<HttpAnswer>;
}

const longestAnswer = 32 << 20;

/** An `import` would evaluate every export of the module, WebSocket among them: 20 ms of each start. */
const http = process.getBuiltinModule("node:http");

/** `base` is `unix:/path` or `https://host:port`. @throws SdkError `bad-profile` */
export async function createHttpClient(base: string): Promise<HttpClient> {
  if (base.startsWith("unix:/")) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
    return clientOf(
      base.slice("unix:".length),
      (options) =>
        http.request({
          ...options,
          socketPath: base.slice("unix:".length),
          agent,
          headers: { ...options.headers, host: "control" },
        }),
      () => agent.destroy(),
    );
  }
  const url = URL.canParse(base) ? new URL(base) : undefined;
  if (url?.protocol !== "https:") throw new SdkError("bad-profile", `'${base}' is not the address of a control plane`);
  const https = process.getBuiltinModule("node:https");
  const agent = new https.Agent({ keepAlive: true, maxSockets: 16, minVersion: "TLSv1.3" });
  return clientOf(
    url.host,
    (options) => https.request({ ...options, host: url.hostname, port: url.port || 443, agent }),
    () => agent.destroy(),
  );
}

type Open = (options: {
  method: string;
  path: string;
  headers: Record<string, string>;
  signal: AbortSignal;
}) => ClientRequest;

function clientOf(where: string, open: Open, close: () => void): HttpClient {
  return {
    send: (request) => sendOnce(where, open, request),
    [Symbol.dispose]: close,
  };
}

async function sendOnce(where: string, open: Open, request: HttpRequest): Promise<HttpAnswer> {
  const timeout = AbortSignal.timeout(request.timeoutMs);
  const signal = request.signal === undefined ? timeout : AbortSignal.any([timeout, request.signal]);
  const payload = request.body === undefined ? undefined : Buffer.from(JSON.stringify(request.body));
  const headers: Record<string, string> = { accept: "application/json", ...request.headers };
  if (payload !== undefined) {
    headers["content-type"] = "application/json";
    headers["content-length"] = String(payload.length);
  }
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = open({ method: request.method, path: request.path, headers, signal });
      sent.on("response", resolve);
      sent.on("error", reject);
      sent.end(payload);
    });
    return { status: response.statusCode ?? 0, body: await readJson(response) };
  } catch (cause) {
    if (cause instanceof SdkError) throw cause;
    if (request.signal?.aborted) throw new SdkError("cancelled", "the request was cancelled", { cause });
    if (timeout.aborted) {
      throw new SdkError("timeout", `the control plane did not answer in ${request.timeoutMs} ms`, { cause });
    }
    const code = errorCode(cause) ?? "failed";
    const nobody = code === "ENOENT" || (code === "ECONNREFUSED" && where.startsWith("/"));
    const what = nobody
      ? "no stack runs here; start one with 'exai up -d'"
      : `the control plane at ${where} does not answer (${code}); see 'exai status'`;
    throw new SdkError("unreachable", what, { cause: new Error(code, { cause }) });
  }
}

async function readJson(response: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > longestAnswer) throw new SdkError("bad-answer", "the control plane's answer is too long");
    parts.push(part);
  }
  if (length === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(parts).toString("utf8"));
  } catch (cause) {
    throw new SdkError("bad-answer", "the control plane's answer is not JSON", { cause });
  }
}
