import { chmod, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { Socket } from "node:net";
import type { ControlConfig } from "@exai/api/host";
import { type Clock, type Logger, systemClock } from "@exai/base";
import { getRequestListener } from "@hono/node-server";
import { ControlError } from "./errors.ts";
import { hostHandlers } from "./handlers/hosts.ts";
import { type Services, workspaceHandlers } from "./handlers/workspaces.ts";
import { createApp } from "./http/app.ts";
import { Connections } from "./http/connections.ts";
import { Notifier } from "./notifier.ts";
import { openDatabase } from "./state/open.ts";
import { Store } from "./state/store.ts";

const pruneEveryMs = 3_600_000;

export interface ControlServer extends AsyncDisposable {
  /** Port that was taken, when it listens on TCP. */
  readonly port: number | undefined;
}

/**
 * Opens the database, migrates it and serves the API until it is disposed.
 * @throws ControlError `database-newer`, `database`, `listen`
 */
export async function startControl(
  config: ControlConfig,
  logger: Logger,
  clock: Clock = systemClock,
): Promise<ControlServer> {
  await using resources = new AsyncDisposableStack();
  const store = new Store(resources.use(await openDatabase(config.database)));
  const services = servicesOf(config, store, clock);
  await store.startHosts(services.hosts, clock.nowMs());
  resources.adopt(startPruning(store, clock, logger), clearInterval);
  const stopping = new AbortController();
  const connections = new Connections();
  const app = createApp({
    connections,
    anchors: services.anchors,
    handlers: { ...workspaceHandlers(services), ...hostHandlers(services) },
    clock,
    logger,
    stopping: stopping.signal,
  });
  const server = createHttpServer(getRequestListener(app.fetch, { overrideGlobalObjects: false }));
  server.on("connection", (socket: Socket) => connections.add(socket));
  await listen(server, config.listen);
  resources.defer(() => close(server, stopping));
  const address = server.address();
  const owned = resources.move();
  return {
    port: typeof address === "object" && address !== null ? address.port : undefined,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function servicesOf(config: ControlConfig, store: Store, clock: Clock): Services {
  const anchors = {
    tenants: new Map(config.tenants.map((each) => [each.tenant as string, each])),
    hosts: new Map(config.hosts.map((each) => [each.host as string, each])),
  };
  return { store, notifier: new Notifier(), anchors, clock, hosts: config.hosts.map((each) => each.host) };
}

function startPruning(store: Store, clock: Clock, logger: Logger): NodeJS.Timeout {
  const prune = () =>
    store.prune(clock.nowMs()).catch(() => logger.log("warn", "old records could not be removed; tried again later"));
  return setInterval(prune, pruneEveryMs).unref();
}

/** Every bound of a connection; a long poll is bounded by the contract. */
function createHttpServer(listener: Parameters<typeof createServer>[1] & {}): Server {
  const server = createServer(
    {
      maxHeaderSize: 16_384,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      // Above any long poll, so that a client's pool never meets a connection that is just being closed.
      keepAliveTimeout: 90_000,
      connectionsCheckingInterval: 5000,
      noDelay: true,
    },
    listener,
  );
  server.maxHeadersCount = 64;
  server.maxConnections = 4096;
  return server;
}

/** @throws ControlError `listen` */
async function listen(server: Server, where: ControlConfig["listen"]): Promise<void> {
  // Only one control plane runs on a home, under its lock: a socket that exists is one that was left behind.
  if (where.kind === "unix") await rm(where.path, { force: true });
  const target = where.kind === "unix" ? { path: where.path } : { host: where.address, port: where.port };
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(target, () => {
        server.off("error", reject);
        resolve();
      });
    });
    // Whoever may reach the folder may call: callers prove themselves by token.
    if (where.kind === "unix") await chmod(where.path, 0o666);
  } catch (cause) {
    throw new ControlError("listen", "the control plane can't listen where the configuration says", { cause });
  }
}

/** Long polls answer at once; what still runs after a second is cut. */
async function close(server: Server, stopping: AbortController): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  stopping.abort();
  server.closeIdleConnections();
  const cut = setTimeout(() => server.closeAllConnections(), 1000);
  await closed;
  clearTimeout(cut);
}
