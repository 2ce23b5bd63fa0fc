import { createServer, type Server, type Socket } from "node:net";
import { create } from "@bufbuild/protobuf";
import { type PortFrame, PortFrameSchema } from "@exai/api/guest";
import { errorCode } from "@exai/base";
import { toSdkError } from "./data/errors.ts";
import type { PlaneSource } from "./data/plane.ts";
import { SdkError } from "./errors.ts";

export interface ForwardOptions {
  /** Default: the guest's port; 0 takes a free one. */
  readonly localPort?: number;
  /** Default 127.0.0.1. Anything else lets others on the network in. */
  readonly address?: string;
  /** Called when one connection fails (nothing listens in the guest, the workspace stopped). */
  readonly onError?: (error: SdkError) => void;
}

/** A TCP listener on this machine whose connections end at 127.0.0.1:port of the guest. Dispose it to close all. */
export interface Forward extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
}

const mostConnections = 256;
const frameBytes = 65_536;

/** @throws SdkError `local` when the local port is in use or may not be taken */
export async function openForward(plane: PlaneSource, port: number, options: ForwardOptions = {}): Promise<Forward> {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new SdkError("invalid", `${port} is not a port`);
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => undefined); // 'close' follows; a reset is the application's business
    void pipe(plane, port, socket).catch((error) => {
      socket.destroy();
      options.onError?.(toSdkError(error, `port ${port} of the workspace`));
    });
  });
  server.maxConnections = mostConnections;
  const address = options.address ?? "127.0.0.1";
  await listen(server, address, options.localPort ?? port);
  const bound = server.address();
  return {
    address,
    port: typeof bound === "object" && bound !== null ? bound.port : port,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function listen(server: Server, address: string, port: number): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, address, () => resolve());
    });
  } catch (cause) {
    const code = errorCode(cause);
    const why =
      code === "EADDRINUSE"
        ? "is in use; choose another with PORT:LOCAL"
        : code === "EACCES"
          ? "may not be taken by this user; choose one above 1023"
          : `can't be opened (${code})`;
    throw new SdkError("local", `port ${port} on ${address} ${why}`, { cause });
  }
}

/** One connection, both ways, each with its own half-close and back-pressure. */
async function pipe(plane: PlaneSource, port: number, socket: Socket): Promise<void> {
  const abort = new AbortController();
  socket.once("close", () => abort.abort());
  try {
    const { ports } = await plane();
    for await (const { frame } of ports.connect(outgoing(port, socket), { signal: abort.signal })) {
      if (frame.case !== "data") continue;
      if (!socket.write(frame.value)) await drained(socket);
    }
    socket.end();
  } catch (error) {
    // Our own side closed the connection: nobody is left to tell.
    if (!abort.signal.aborted) throw error;
  }
}

async function* outgoing(port: number, socket: Socket): AsyncGenerator<PortFrame> {
  yield create(PortFrameSchema, { frame: { case: "connect", value: { port } } });
  try {
    for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      for (let from = 0; from < chunk.length; from += frameBytes) {
        yield create(PortFrameSchema, { frame: { case: "data", value: chunk.subarray(from, from + frameBytes) } });
      }
    }
  } catch {
    socket.destroy(); // a reset: the guest's side is ended by the abort that 'close' makes
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
  });
}
