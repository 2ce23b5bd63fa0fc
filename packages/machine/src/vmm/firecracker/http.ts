import { type IncomingMessage, request } from "node:http";
import { MachineError } from "../../errors.ts";

/** Far above what any of its answers needs. */
const longestAnswer = 65_536;
const longestHeader = 8192;

export interface ApiRequest {
  readonly method: "GET" | "PUT" | "PATCH";
  readonly path: string;
  readonly body?: object;
  readonly timeoutMs: number;
}

export interface ApiAnswer {
  readonly status: number;
  /** Undefined when there was no body. */
  readonly body: unknown;
}

/**
 * One request over Firecracker's UNIX socket, each on a connection of its own. The process behind it is jailed and may
 * be in a guest's hands: size, time and form of its answer are bounded, and nothing of it is kept but status and body.
 * @throws MachineError `monitor`
 */
export function askFirecracker(socketPath: string, ask: ApiRequest): Promise<ApiAnswer> {
  const { method, path, body, timeoutMs } = ask;
  const { promise, resolve, reject } = Promise.withResolvers<ApiAnswer>();
  const what = `${method} ${path}`;
  const text = body === undefined ? undefined : JSON.stringify(body);
  const headers =
    text === undefined ? {} : { "content-type": "application/json", "content-length": `${Buffer.byteLength(text)}` };
  const asked = request({
    ...{ socketPath, method, path, headers, agent: false, maxHeaderSize: longestHeader },
    // Counts the whole, also what trickles in byte by byte.
    signal: AbortSignal.timeout(timeoutMs),
  });
  asked.once("error", (cause) => reject(fault(cause, what, timeoutMs)));
  // Nobody asked for it, and neither the request nor its time limit holds that connection any more.
  asked.once("upgrade", (_, socket) => {
    socket.destroy();
    reject(fault(new RangeError("it changes the protocol"), what, timeoutMs));
  });
  // It never says that it goes on; whoever says so without end would keep this process busy until the time is over.
  asked.once("information", () => asked.destroy(new RangeError("it says that it goes on")));
  asked.once("response", (answer) => {
    const read = readAll(answer).then((text) => ({ status: answer.statusCode ?? 0, body: parse(text, what) }));
    read.then(resolve, (cause: unknown) => reject(fault(cause, what, timeoutMs)));
  });
  asked.end(text);
  return promise.finally(() => asked.destroy());
}

async function readAll(answer: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of answer as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > longestAnswer) throw new RangeError(`its answer is longer than ${longestAnswer} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function parse(text: string, what: string): unknown {
  if (text === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw new MachineError("monitor", `Firecracker's answer to ${what} is not JSON`);
  }
}

function fault(cause: unknown, what: string, timeoutMs: number): MachineError {
  if (cause instanceof MachineError) return cause;
  const late = cause instanceof Error && (cause.name === "AbortError" || cause.name === "TimeoutError");
  const how = late ? `did not answer ${what} within ${timeoutMs} ms` : `broke off at ${what}`;
  return new MachineError("monitor", `Firecracker ${how}`, { cause });
}
