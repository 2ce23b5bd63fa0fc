import { createSecureServer, type Http2SecureServer, type Http2ServerRequest } from "node:http2";
import type { AddressInfo } from "node:net";
import { Code, ConnectError, type ConnectRouter, createConnectRouter, createContextValues } from "@connectrpc/connect";
import type { UniversalHandlerFn } from "@connectrpc/connect/protocol";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { Logger } from "@exai/base";
import { describeError } from "@exai/base";
import { TenantError } from "../errors.ts";
import { Connections } from "./connections.ts";
import { connectionKey, type createGate } from "./gate.ts";
import { channelLimits } from "./limits.ts";

export interface DataPlaneOptions {
  /** PEM. */
  readonly certificate: string;
  readonly privateKey: string;
  readonly listen: { readonly address: string; readonly port: number };
  readonly gate: ReturnType<typeof createGate>;
  readonly routes: (router: ConnectRouter) => void;
  /** Ways of gRPC clients that go before the router's, by request path. They pass the gate themselves. */
  readonly grpc: ReadonlyMap<string, UniversalHandlerFn>;
  readonly logger: Logger;
}

export interface DataPlane extends AsyncDisposable {
  readonly url: string;
}

/** Serves the data plane: TLS 1.3, HTTP/2 only. @throws TenantError `listen` */
export async function serveDataPlane(o: DataPlaneOptions): Promise<DataPlane> {
  const connections = new Connections(o.logger);
  const server = createServer(o);
  server.maxConnections = channelLimits.sockets;
  server.on("session", (session) => connections.add(session));
  server.on("tlsClientError", () => undefined); // somebody knocked who speaks no TLS 1.3; nothing of ours
  server.on("sessionError", () => undefined); // the session is destroyed; its calls see it
  serveRoutes(server, o, connections);
  await listen(server, o.listen);
  const { port } = server.address() as AddressInfo;
  const host = o.listen.address.includes(":") ? `[${o.listen.address}]` : o.listen.address;
  return {
    url: `https://${host}:${port}`,
    async [Symbol.asyncDispose]() {
      connections[Symbol.dispose]();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function createServer(o: DataPlaneOptions): Http2SecureServer {
  return createSecureServer({
    cert: o.certificate,
    key: o.privateKey,
    minVersion: "TLSv1.3",
    ALPNProtocols: ["h2"],
    allowHTTP1: false,
    handshakeTimeout: channelLimits.handshakeMs,
    maxSessionMemory: channelLimits.sessionMemoryMb,
    maxHeaderListPairs: channelLimits.headerPairs,
    maxOutstandingPings: 4,
    maxSettings: 16,
    peerMaxConcurrentStreams: channelLimits.streams,
    settings: {
      enablePush: false,
      maxConcurrentStreams: channelLimits.streams,
      maxHeaderListSize: channelLimits.headerBytes,
      initialWindowSize: channelLimits.strangerWindowBytes,
    },
  });
}

function serveRoutes(server: Http2SecureServer, o: DataPlaneOptions, connections: Connections): void {
  const router = createConnectRouter({
    grpcWeb: false,
    acceptCompression: [],
    readMaxBytes: channelLimits.messageBytes,
    writeMaxBytes: channelLimits.messageBytes,
    maxTimeoutMs: channelLimits.timeoutMs,
    requestGate: o.gate,
  });
  o.routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  server.on("request", (request: Http2ServerRequest, response) => {
    response.on("error", () => undefined); // the client went away; the call's signal tells
    const path = request.url.split("?", 1)[0] ?? "";
    const isGrpc = /^application\/grpc(\+proto)?$/i.test(request.headers["content-type"] ?? "");
    const handler = (isGrpc ? o.grpc.get(path) : undefined) ?? handlers.get(path);
    if (handler === undefined) {
      response.writeHead(404).end();
      return;
    }
    const session = request.stream.session;
    const known = () => session !== undefined && connections.trust(session);
    const values = createContextValues().set(connectionKey, known);
    void (async () => {
      try {
        const answer = await handler(universalRequestFromNodeRequest(request, response, undefined, values));
        await universalResponseToNodeResponse(answer, response);
      } catch (error) {
        noteFailure(o.logger, error, path);
        response.stream.close();
      }
    })();
  });
}

/** A client that goes away in the middle is no failure of ours. */
function noteFailure(logger: Logger, error: unknown, method: string): void {
  const { code } = ConnectError.from(error);
  if (code === Code.Aborted || code === Code.Canceled) return;
  logger.log("debug", "a response could not be sent", { method, why: describeError(error) });
}

async function listen(server: Http2SecureServer, { address, port }: { address: string; port: number }): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => {
      reject(new TenantError("listen", `the data plane can't listen on ${address} port ${port}`, { cause }));
    });
    server.listen(port, address, () => resolve());
  });
}
