import { lchownSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { describeError, errorCode } from "@exai/base";
import { type Contract, type Handlers, IpcError } from "./contract.ts";
import { asRequest, encodeFrame, FrameReader, type Line, maxFrameBytes, type ResponseFrame } from "./frames.ts";

export interface IpcServerOptions<C extends Contract> {
  /** UNIX socket path; an old socket there is replaced. Who may connect is decided by the folder it lies in. */
  path: string;
  contract: C;
  handlers: Handlers<C>;
  /** Owner of the socket; its mode is 0600. */
  owner?: { uid: number; gid: number };
  /** Requests at once over all connections, until their answers have gone; more wait in the socket's buffer. Default 64. */
  maxInFlight?: number;
  /** Connections at once; one more is closed at once. Default 64. */
  maxConnections?: number;
  /** Called with an error that is not an answer to the peer (a broken frame, a failed write). */
  onError?: (error: unknown) => void;
}

/** Of requests that are not answered yet, over all connections; each connection may be amid a longest frame besides. */
const maxInFlightBytes = 32 * maxFrameBytes;

/** Serves a closed set of methods, one JSON line a request. A peer that breaks the framing is cut off. */
export async function serveIpc<C extends Contract>(options: IpcServerOptions<C>): Promise<AsyncDisposable> {
  const sockets = new Set<Socket>();
  let inFlight = 0;
  let inFlightBytes = 0;
  const limit = options.maxInFlight ?? 64;
  const isFull = () => inFlight >= limit || inFlightBytes >= maxInFlightBytes;
  const server = createServer((socket) => {
    sockets.add(socket);
    const abort = new AbortController();
    const reader = new FrameReader();
    socket.on("error", (error) => options.onError?.(error));
    socket.on("close", () => {
      sockets.delete(socket);
      abort.abort();
    });
    socket.on("data", (chunk) => {
      try {
        for (const line of reader.push(chunk)) void answer(socket, line, abort.signal);
      } catch (error) {
        options.onError?.(error);
        socket.destroy();
      }
    });
  });

  server.maxConnections = options.maxConnections ?? 64;

  async function answer(socket: Socket, { value, bytes }: Line, signal: AbortSignal): Promise<void> {
    inFlight++;
    inFlightBytes += bytes;
    if (isFull()) for (const each of sockets) each.pause();
    try {
      const frame = await respond(value, signal);
      // A peer that asks and never reads has its answers kept only as long as it is let ask.
      if (socket.writable) await new Promise<void>((gone) => socket.write(encodeFrame(frame), () => gone()));
    } catch (error) {
      options.onError?.(error);
      socket.destroy();
    } finally {
      inFlight--;
      inFlightBytes -= bytes;
      if (!isFull()) for (const each of sockets) each.resume();
    }
  }

  async function respond(value: unknown, signal: AbortSignal): Promise<ResponseFrame> {
    const { id, method, params } = asRequest(value);
    try {
      const entry = Object.hasOwn(options.contract, method) ? options.contract[method] : undefined;
      if (entry === undefined) throw new IpcError("bad-frame", `there is no method '${method.slice(0, 40)}'`);
      const handler = options.handlers[method as keyof C];
      // The schema of the same entry made the value, so its type is the handler's.
      const result = await handler(entry.request.parse(params) as Parameters<typeof handler>[0], signal);
      return { id, result: entry.response.parse(result) };
    } catch (error) {
      return { id, error: { code: errorCode(error) ?? "failed", message: describeError(error).slice(0, 2000) } };
    }
  }

  rmSync(options.path, { force: true });
  await listen(server, options.path);
  // Never through a link that somebody put there meanwhile.
  if (options.owner !== undefined) lchownSync(options.path, options.owner.uid, options.owner.gid);
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      rmSync(options.path, { force: true });
    },
  };
}

async function listen(server: Server, path: string): Promise<void> {
  const previous = process.umask(0o177); // closed from the first instant, not only after chmod
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, () => resolve());
    });
  } finally {
    process.umask(previous);
  }
}
