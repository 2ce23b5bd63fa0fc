import { type ClientHttp2Stream, constants, type IncomingHttpHeaders, type OutgoingHttpHeaders } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import type { UniversalClientFn, UniversalClientRequest, UniversalClientResponse } from "@connectrpc/connect/protocol";
import { type CallPolicy, callPolicy } from "./call-policy.ts";
import { type AssemblyBudget, EnvelopeAssembler } from "./envelopes.ts";
import { GuestError } from "./errors.ts";
import { boundFields } from "./field-count.ts";
import type { HttpSession } from "./http-session.ts";
import { StreamReader } from "./stream-reader.ts";

/**
 * What Connect's gRPC transport sends its calls through. Its own client over `node:http2` keeps a message's pieces in a
 * list and allocates what a length prefix claims; this one cuts at message borders within a budget, and ends calls that
 * a guest leaves hanging.
 */
export function createGuestHttpClient(session: HttpSession, budget: AssemblyBudget): UniversalClientFn {
  return async (request) => {
    const call = openCall(session, request);
    void send(call, request, session.limits.stallTimeoutMs);
    const header = await call.response;
    return {
      status: header[":status"] ?? 0,
      header: copyHeaders(header),
      body: receive(call, session, budget),
      trailer: call.trailer,
    };
  };
}

const envelopePrefix = 5;

type ResponseHeader = IncomingHttpHeaders & { ":status"?: number };

interface Call {
  readonly policy: CallPolicy;
  readonly stream: ClientHttp2Stream;
  readonly reader: StreamReader;
  readonly response: Promise<ResponseHeader>;
  readonly trailer: Headers;
  /** Ends the call on our side; the first reason wins and is what the caller sees. */
  fail(reason: unknown): void;
  readonly reason: () => unknown;
}

function openCall(session: HttpSession, request: UniversalClientRequest): Call {
  const { pathname } = new URL(request.url);
  let stream: ClientHttp2Stream;
  try {
    stream = session.request(requestHeaders(request, pathname));
  } catch (error) {
    throw toConnectError(error);
  }
  // A short answer comes in one piece: what follows its headers must find its listener there already.
  const trailer = new Headers();
  stream.once("trailers", (fields: IncomingHttpHeaders) => copyHeaders(fields, trailer));
  let reason: unknown;
  const fail = (why: unknown) => {
    reason ??= why;
    if (!stream.closed)
      stream.close(why instanceof GuestError ? constants.NGHTTP2_INTERNAL_ERROR : constants.NGHTTP2_CANCEL);
    stream.destroy();
  };
  const { response, reject } = awaitResponse(stream);
  const policy = callPolicy(pathname, session.limits);
  const release = watchDeadline(stream, policy, request, fail);
  const abort = () => fail(request.signal?.reason);
  request.signal?.addEventListener("abort", abort, { once: true });
  stream.on("error", (error) => {
    // The engine tears down the streams first and then says why: the session knows.
    reason ??= endReason(session, stream, error);
  });
  stream.once("close", () => {
    release();
    request.signal?.removeEventListener("abort", abort);
    reason ??= endReason(session, stream, undefined);
    reject(toConnectError(reason ?? new GuestError("guest-misbehaved", "the guest ended a call without an answer")));
  });
  if (request.signal?.aborted) abort();
  return { policy, stream, reader: new StreamReader(stream), response, trailer, fail, reason: () => reason };
}

function awaitResponse(stream: ClientHttp2Stream) {
  let reject: (error: unknown) => void = () => undefined;
  const response = new Promise<ResponseHeader>((resolve, no) => {
    reject = no;
    stream.once("response", resolve);
  });
  return { response, reject };
}

/** Starts the timers of the call; returns what stops them. */
function watchDeadline(
  stream: ClientHttp2Stream,
  policy: CallPolicy,
  request: UniversalClientRequest,
  fail: (reason: unknown) => void,
): () => void {
  const late = (what: string, ms: number) =>
    setTimeout(() => fail(new GuestError("stalled", `the guest ${what} within ${ms} ms`)), ms);
  const timers: NodeJS.Timeout[] = [];
  // A caller's own deadline is in the header and fires by its signal.
  const own = request.header.has("grpc-timeout");
  if (policy.totalMs !== undefined && !own) timers.push(late("did not answer", policy.totalMs));
  if (policy.headersMs !== undefined) {
    const timer = late("did not begin to answer", policy.headersMs);
    timers.push(timer);
    stream.once("response", () => clearTimeout(timer));
  }
  return () => {
    for (const timer of timers) clearTimeout(timer);
  };
}

/** Writes the request as the guest takes it. */
async function send(call: Call, request: UniversalClientRequest, stallMs: number): Promise<void> {
  const { stream } = call;
  const stalls = call.policy.uploads;
  try {
    for await (const chunk of request.body ?? []) {
      if (stream.destroyed || stream.writableEnded) return;
      if (!stream.write(chunk)) await drained(stream, stalls ? stallMs : undefined);
    }
    if (!stream.destroyed) stream.end();
    if (stalls) awaitAnswer(call, stallMs);
  } catch (error) {
    call.fail(error);
  }
}

/** @throws GuestError `stalled`; returns early when the stream has ended */
async function drained(stream: ClientHttp2Stream, stallMs: number | undefined): Promise<void> {
  if (stream.destroyed) return;
  await new Promise<void>((resolve, reject) => {
    const timer =
      stallMs === undefined
        ? undefined
        : setTimeout(() => reject(new GuestError("stalled", `the guest took no bytes for ${stallMs} ms`)), stallMs);
    const done = () => {
      clearTimeout(timer);
      stream.off("drain", done);
      stream.off("close", done);
      resolve();
    };
    stream.once("drain", done);
    stream.once("close", done);
  });
}

function awaitAnswer(call: Call, stallMs: number): void {
  const timer = setTimeout(
    () => call.fail(new GuestError("stalled", `the guest did not answer an upload for ${stallMs} ms`)),
    stallMs,
  );
  call.stream.once("response", () => clearTimeout(timer));
  call.stream.once("close", () => clearTimeout(timer));
}

/** Whole messages as the caller asks for them; what nobody asks for stays in the stream's window. */
async function* receive(call: Call, session: HttpSession, budget: AssemblyBudget): AsyncGenerator<Uint8Array> {
  const { stream, policy } = call;
  using messages = new EnvelopeAssembler(policy.messageBytes, budget);
  try {
    for (let chunk = await call.reader.read(); chunk !== undefined; chunk = await call.reader.read()) {
      if (stream.id !== undefined) session.meter.drained(stream.id);
      for (const piece of messages.push(chunk)) {
        if (policy.lists) boundFields(piece.subarray(envelopePrefix), session.limits.listFields);
        yield piece;
      }
    }
    const reason = call.reason() ?? endReason(session, stream, undefined);
    if (reason !== undefined) throw reason;
    if (!messages.empty) throw new GuestError("guest-misbehaved", "the guest ended a call within a message");
  } catch (error) {
    const fault = call.reason() ?? error;
    call.fail(fault);
    // Only a guest that breaks the rules does this; the next call would meet the same.
    if (fault instanceof GuestError && fault.code === "guest-misbehaved") session.fail(fault);
    throw toConnectError(fault);
  } finally {
    if (!stream.closed) stream.close(constants.NGHTTP2_CANCEL);
    stream.destroy();
  }
}

function requestHeaders(request: UniversalClientRequest, path: string): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = {
    ":method": request.method,
    ":path": path,
    ":scheme": "http",
    ":authority": "guest",
  };
  request.header.forEach((value, name) => {
    headers[name] = value;
  });
  return headers;
}

function copyHeaders(fields: IncomingHttpHeaders, into = new Headers()): Headers {
  for (const [name, value] of Object.entries(fields)) {
    if (name.startsWith(":") || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) into.append(name, String(one));
  }
  return into;
}

/** Why a call ended other than well. The engine ends the streams first, so the session is asked whether it is over. */
const endReason = (session: HttpSession, stream: ClientHttp2Stream, error: unknown): unknown =>
  session.faultOf(error) ?? resetReason(stream.rstCode) ?? error;

/** What a reset of one call means; NO_ERROR is a plain end. */
function resetReason(code: number | undefined): Error | undefined {
  switch (code) {
    case undefined:
    case constants.NGHTTP2_NO_ERROR:
      return undefined;
    case constants.NGHTTP2_REFUSED_STREAM:
      return new ConnectError("the guest refused the call", Code.Unavailable);
    case constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return new ConnectError("the call's headers or frames were over a limit", Code.ResourceExhausted);
    default:
      return new ConnectError(`the guest reset the call (HTTP/2 code ${code})`, Code.Aborted);
  }
}

const codes = {
  "no-guest": Code.Unavailable,
  "channel-lost": Code.Unavailable,
  unresponsive: Code.Unavailable,
  closed: Code.Unavailable,
  "guest-misbehaved": Code.Internal,
  "wrong-contract": Code.FailedPrecondition,
  "too-many-calls": Code.ResourceExhausted,
  stalled: Code.DeadlineExceeded,
} as const;

export function toConnectError(reason: unknown): ConnectError {
  if (reason instanceof ConnectError) return reason;
  if (reason instanceof GuestError) {
    return new ConnectError(reason.message, codes[reason.code], undefined, undefined, reason);
  }
  return ConnectError.from(reason, Code.Internal);
}

export type { UniversalClientResponse };
