import { type Clock, describeError, type Logger } from "@exai/base";
import { type ControlAnchors, type ControlPrincipal, cacheTokens, PolicyError, verifyControlToken } from "@exai/policy";
import type { HttpBindings } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type Context, Hono } from "hono";
import { ControlError, isProblem } from "../errors.ts";
import type { Connections } from "./connections.ts";
import type { Handlers } from "./handler.ts";
import { problemResponse } from "./problem.ts";
import { digestOf, goneSignal, idempotencyKey, parseInput, parseJson, queryOf, readBody } from "./request.ts";
import { type Role, type Route, routeNames, routes } from "./routes.ts";

export interface AppOptions {
  readonly anchors: ControlAnchors;
  readonly handlers: Handlers;
  readonly connections: Connections;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Fires when the process ends: long polls answer at once. */
  readonly stopping: AbortSignal;
}

type App = Hono<{ Bindings: HttpBindings }>;
type AppContext = Context<{ Bindings: HttpBindings }>;

/** The API over HTTP: authenticate, check the role, parse, then the handler. */
export function createApp(options: AppOptions): App {
  const app: App = new Hono();
  const byPath = new Map<string, string[]>();
  const verify = cacheTokens(
    (token) => verifyControlToken(token, options.anchors, options.clock.nowMs()),
    options.clock,
  );
  for (const name of routeNames) {
    const route: Route = routes[name];
    const path = route.path.replaceAll(/\{(\w+)\}/g, ":$1");
    byPath.set(path, [...(byPath.get(path) ?? []), route.method.toUpperCase()]);
    const handler = options.handlers[name] as AnyHandler;
    app[route.method](path, (context) => answer(options, verify, route, handler, context));
  }
  for (const [path, methods] of byPath) {
    app.all(path, () => {
      const allow = methods.join(", ");
      return problemResponse("method-not-allowed", `this path takes ${allow}`, { allow });
    });
  }
  app.notFound(() => problemResponse("not-found", "there is no such path; see /v1/openapi.json"));
  app.onError((error) => toProblem(options.logger, error));
  return app;
}

type AnyHandler = (input: {
  principal: ControlPrincipal | undefined;
  params: unknown;
  query: unknown;
  body: unknown;
  call: unknown;
  gone: AbortSignal;
}) => Promise<{ status: number; json: string }>;

type Verify = (token: string) => Promise<ControlPrincipal>;

async function answer(
  o: AppOptions,
  verify: Verify,
  route: Route,
  handler: AnyHandler,
  context: AppContext,
): Promise<Response> {
  const { incoming, outgoing } = context.env;
  const principal = await authenticate(verify, route.roles, incoming.headers.authorization);
  const caller = principal === undefined ? "" : principal.role === "tenant" ? principal.tenant : principal.host;
  if (principal !== undefined) o.connections.trust(incoming.socket, caller);
  const params = parseInput(route.params, context.req.param(), "path");
  const query = parseInput(route.query, queryOf(context.req.queries(), ["label"]), "query");
  const raw = route.body === undefined ? Buffer.alloc(0) : await readBody(incoming, route.bodyBytes);
  const body = route.body === undefined ? undefined : parseInput(route.body, parseJson(raw), "body");
  const call = {
    principal: caller,
    key: route.idempotent ? idempotencyKey(incoming) : undefined,
    digest: digestOf(route.method, context.req.path, raw),
    nowMs: o.clock.nowMs(),
  };
  const gone = goneSignal(outgoing, o.stopping);
  const { status, json } = await handler({ principal, params, query, body, call, gone });
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  // Hono answers HEAD by the handler of GET, and takes the body off.
  if (incoming.method === "HEAD") return new Response(json, { status, headers });
  // Not through a web response, which makes a stream of what is at hand already.
  outgoing.writeHead(status, { ...headers, "content-length": Buffer.byteLength(json) }).end(json);
  return RESPONSE_ALREADY_SENT;
}

/** @throws ControlError `unauthenticated`, `forbidden` */
async function authenticate(
  verify: Verify,
  roles: readonly Role[] | "anyone",
  header: string | undefined,
): Promise<ControlPrincipal | undefined> {
  if (roles === "anyone") return undefined;
  const token = /^Bearer ([\w.-]+)$/i.exec(header ?? "")?.[1];
  if (token === undefined) {
    throw new ControlError("unauthenticated", "send a signed token: authorization: Bearer <token>");
  }
  const principal = await refusing(verify, token);
  if (roles.includes(principal.role)) return principal;
  throw new ControlError("forbidden", `this is for the role ${roles.join(" or ")}; the token has ${principal.role}`);
}

async function refusing(verify: Verify, token: string): Promise<ControlPrincipal> {
  try {
    return await verify(token);
  } catch (error) {
    if (error instanceof PolicyError) throw new ControlError("unauthenticated", error.message, { cause: error });
    throw error;
  }
}

function toProblem(logger: Logger, error: unknown): Response {
  if (isProblem(error)) return problemResponse(error.code, error.message);
  logger.log("error", "a request failed", { reason: describeError(error) });
  return problemResponse("internal", "the control plane failed; its log says why. Try again");
}
