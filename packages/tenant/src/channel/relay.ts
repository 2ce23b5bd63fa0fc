import { type DescMethod, fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, createHandlerContext, type HandlerContext } from "@connectrpc/connect";
import type { UniversalHandlerFn, UniversalServerRequest, UniversalServerResponse } from "@connectrpc/connect/protocol";
import { assertByteStreamRequest } from "@connectrpc/connect/protocol";
import { parseTimeout, setTrailerStatus, validateResponse, validateTrailer } from "@connectrpc/connect/protocol-grpc";
import { firstMessage } from "./first-message.ts";
import { forwarded } from "./forwarded.ts";
import type { createGate } from "./gate.ts";
import { channelLimits } from "./limits.ts";
import type { CallOpener } from "./opening.ts";
import { toClientError } from "./statuses.ts";

/*
 * The way of gRPC clients, the SDK among them: after the gate and the event, messages go through as bytes. Decoding and
 * encoding each again cost two thirds of the processor time and three times the memory of a copy. What the guest session
 * guarantees (whole, uncompressed, bounded messages) is what the client gets; the guest's headers, trailers and texts
 * are not passed on.
 */

/** Handlers by request path, for content type application/grpc. */
export function relayHandlers(
  gate: ReturnType<typeof createGate>,
  opener: CallOpener,
): Map<string, UniversalHandlerFn> {
  const handlers = new Map<string, UniversalHandlerFn>();
  for (const { method, guestMethod } of forwarded) {
    const target = `http://guest/${guestMethod.parent.typeName}/${guestMethod.name}`;
    const handler = (request: UniversalServerRequest) => relay({ method, target, gate, opener }, request);
    handlers.set(`/${method.parent.typeName}/${method.name}`, handler);
  }
  return handlers;
}

interface Route {
  readonly method: DescMethod;
  readonly target: string;
  readonly gate: ReturnType<typeof createGate>;
  readonly opener: CallOpener;
}

async function relay(route: Route, request: UniversalServerRequest): Promise<UniversalServerResponse> {
  const trailer = new Headers();
  const header = new Headers({ "content-type": "application/grpc+proto" });
  return { status: 200, header, trailer, body: answer(route, request, trailer) };
}

/** The call's messages; its status is in `trailer` when they have ended. */
async function* answer(route: Route, request: UniversalServerRequest, trailer: Headers): AsyncGenerator<Uint8Array> {
  const { method, gate } = route;
  const timeout = parseTimeout(request.header.get("grpc-timeout"), channelLimits.timeoutMs);
  const context = createHandlerContext({
    method,
    service: method.parent,
    protocolName: "grpc",
    requestMethod: request.method,
    url: request.url,
    requestSignal: request.signal,
    requestHeader: request.header,
    ...(timeout.timeoutMs === undefined ? {} : { timeoutMs: timeout.timeoutMs }),
    ...(request.contextValues === undefined ? {} : { contextValues: request.contextValues }),
  });
  let passed = false;
  try {
    checkProtocol(request, timeout.error);
    await gate(context);
    passed = true;
    yield* forward(route, request, context);
    trailer.set("grpc-status", "0");
  } catch (error) {
    // What the gate says is ours; everything later may come from a guest.
    setTrailerStatus(trailer, passed ? toClientError(error) : ConnectError.from(error));
  } finally {
    context.abort(ended);
  }
}

// Made once: an AbortSignal without a reason makes itself one with a stack, for each call.
const ended = new ConnectError("the call has ended", Code.Canceled);

function checkProtocol(request: UniversalServerRequest, timeoutError: ConnectError | undefined): void {
  if (timeoutError !== undefined) throw timeoutError;
  if (request.method !== "POST") throw new ConnectError("gRPC calls are POST requests", Code.Unimplemented);
  const encoding = request.header.get("grpc-encoding") ?? "identity";
  if (encoding !== "identity") throw new ConnectError("compressed messages are not taken", Code.Unimplemented);
}

async function* forward(
  { method, target, opener }: Route,
  request: UniversalServerRequest,
  context: HandlerContext,
): AsyncGenerator<Uint8Array> {
  assertByteStreamRequest(request);
  const { message, all } = await firstMessage(request.body);
  const guest = await opener.open(decode(method, message), context);
  const answer = await guest.call({
    url: target,
    method: "POST",
    header: guestHeader(context),
    body: all,
    signal: context.signal,
  });
  const { foundStatus, headerError } = validateResponse(answer.status, answer.header);
  if (headerError !== undefined) throw headerError;
  yield* answer.body;
  if (!foundStatus) validateTrailer(answer.trailer, answer.header);
}

/** Nothing of the client's own header, least of all its token, reaches a guest. */
function guestHeader(context: HandlerContext): Headers {
  const header = new Headers({ "content-type": "application/grpc+proto", te: "trailers" });
  const leftMs = context.timeoutMs();
  if (leftMs !== undefined) header.set("grpc-timeout", `${Math.max(1, Math.ceil(leftMs))}m`);
  return header;
}

/** @throws ConnectError `InvalidArgument` */
function decode(method: DescMethod, bytes: Uint8Array) {
  try {
    return fromBinary(method.input, bytes, { readUnknownFields: false });
  } catch {
    throw new ConnectError("the request's message can't be read", Code.InvalidArgument);
  }
}
