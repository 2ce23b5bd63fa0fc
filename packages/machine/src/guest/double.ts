import { rmSync } from "node:fs";
import { createServer, type ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import type { ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { Files, Machine, Ports, Processes } from "@exai/api/guest";

/** What a test's guest does; the rest answers UNIMPLEMENTED. */
export interface DoubleServices {
  processes?: Partial<ServiceImpl<typeof Processes>>;
  files?: Partial<ServiceImpl<typeof Files>>;
  ports?: Partial<ServiceImpl<typeof Ports>>;
  machine?: Partial<ServiceImpl<typeof Machine>>;
}

export const doubleHello = { contract: 1, agentVersion: "double", kernelRelease: "6.1.0", initUs: 1n, readyUs: 2n };

/** An honest double of the guest's agent, over a UNIX socket; for tests of the host's side that need no VM. */
export async function serveDouble(
  path: string,
  services: DoubleServices,
): Promise<AsyncDisposable & { cut(): void; end(): void }> {
  const sessions = new Set<ServerHttp2Session>();
  const handler = connectNodeAdapter({
    connect: false,
    grpcWeb: false,
    routes: (router) => {
      router.service(Machine, { hello: () => doubleHello, ...services.machine });
      router.service(Processes, services.processes ?? {});
      router.service(Files, services.files ?? {});
      router.service(Ports, services.ports ?? {});
    },
  });
  const server = createServer({}, handler);
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket));
  rmSync(path, { force: true });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const cut = () => {
    for (const session of sessions) session.destroy();
  };
  const end = () => {
    for (const socket of sockets) socket.end();
  };
  return {
    cut,
    end,
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      rmSync(path, { force: true });
    },
  };
}
