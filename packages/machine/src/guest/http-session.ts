import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from "node:http2";
import { errorCode } from "@exai/base";
import { GuestError } from "./errors.ts";
import type { GuestLimits } from "./limits.ts";
import { FrameMeter } from "./meter.ts";
import { MeteredSocket } from "./metered-socket.ts";

/** One HTTP/2 connection to a guest, guarded; `lost` settles once, with the first fault. */
export class HttpSession implements Disposable {
  readonly lost: Promise<GuestError>;
  readonly limits: GuestLimits;
  readonly meter: FrameMeter;
  readonly #session: ClientHttp2Session;
  readonly #socket: MeteredSocket;
  readonly #streams = new Set<ClientHttp2Stream>();
  readonly #keepalive: NodeJS.Timeout;
  #fault: GuestError | undefined;
  #settle: (fault: GuestError) => void = () => undefined;
  #bytesSeen = 0;
  #pinging = false;

  constructor(path: string, limits: GuestLimits, connected: () => void = () => undefined) {
    this.limits = limits;
    this.lost = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.meter = new FrameMeter(limits, () => performance.now());
    this.#socket = new MeteredSocket(path, this.meter);
    this.#session = openSession(this.#socket, limits);
    this.#socket.once("connect", connected);
    this.#socket.on("error", (cause) => this.fail(socketFault(cause, path)));
    this.#session.on("error", (cause) => this.fail(sessionFault(cause)));
    this.#session.on("goaway", () => this.#goaway());
    this.#session.on("frameError", () => this.fail(new GuestError("channel-lost", "a frame could not be sent")));
    this.#session.on("close", () => this.fail(new GuestError("channel-lost", "the guest closed the channel")));
    this.#keepalive = setInterval(() => this.#ping(), limits.pingIntervalMs);
    this.#keepalive.unref();
  }

  get fault(): GuestError | undefined {
    return this.#fault;
  }

  /** The channel's fault, if an error of one of its streams comes from the end of the whole connection. */
  faultOf(streamError: unknown): GuestError | undefined {
    const gone = this.#session.destroyed || this.#socket.destroyed;
    if (this.#fault === undefined && gone) this.fail(sessionFault(streamError));
    return this.#fault;
  }

  /** Resolves when the guest has sent its SETTINGS, the first thing that an HTTP/2 server says. */
  async opened(): Promise<void> {
    const settings = new Promise<void>((resolve) => this.#session.once("remoteSettings", () => resolve()));
    const fault = await Promise.race([settings, this.lost]);
    if (fault !== undefined) throw fault;
    this.#session.setLocalWindowSize(this.limits.sessionWindowBytes);
  }

  /** @throws GuestError when the channel is lost or has too many calls */
  request(headers: OutgoingHttpHeaders): ClientHttp2Stream {
    if (this.#fault !== undefined) throw this.#fault;
    if (this.#streams.size >= this.limits.streams) {
      throw new GuestError("too-many-calls", `more than ${this.limits.streams} calls at once on one guest`);
    }
    const stream = this.#session.request(headers, { endStream: false });
    this.#streams.add(stream);
    let id: number | undefined;
    const ready = () => {
      id = stream.id;
      if (id !== undefined) this.meter.open(id);
    };
    if (stream.pending) stream.once("ready", ready);
    else ready();
    stream.once("close", () => {
      this.#streams.delete(stream);
      if (id !== undefined) this.meter.close(id);
    });
    return stream;
  }

  /** Cuts the channel; every open call ends with this fault. */
  fail(fault: GuestError): void {
    if (this.#fault !== undefined) return;
    this.#fault = fault;
    clearInterval(this.#keepalive);
    this.#settle(fault);
    for (const stream of this.#streams) stream.destroy(fault);
    this.#session.destroy();
    this.#socket.destroy();
  }

  [Symbol.dispose](): void {
    this.fail(new GuestError("closed", "the session was closed"));
  }

  #goaway(): void {
    // New calls fail at once; those that run may still end.
    const timer = setTimeout(
      () => this.fail(new GuestError("channel-lost", "the guest said goodbye")),
      this.#streams.size === 0 ? 0 : this.limits.goawayGraceMs,
    );
    timer.unref();
  }

  /** Asks a silent guest whether it lives, only while somebody waits for it. */
  #ping(): void {
    const silent = this.#socket.bytesRead === this.#bytesSeen;
    this.#bytesSeen = this.#socket.bytesRead;
    if (!silent || this.#streams.size === 0 || this.#pinging || this.#session.destroyed) return;
    this.#pinging = true;
    const timer = setTimeout(
      () => this.fail(new GuestError("unresponsive", "the guest does not answer pings")),
      this.limits.pingTimeoutMs,
    );
    this.#session.ping(() => {
      this.#pinging = false;
      clearTimeout(timer);
    });
  }
}

function openSession(socket: MeteredSocket, limits: GuestLimits): ClientHttp2Session {
  return connect("http://guest", {
    createConnection: () => socket,
    maxSettings: limits.settings,
    maxSessionMemory: limits.sessionMemoryMb,
    maxHeaderListPairs: limits.headerPairs,
    maxOutstandingPings: 2,
    maxReservedRemoteStreams: 0,
    peerMaxConcurrentStreams: limits.streams,
    settings: {
      enablePush: false,
      // Streams that the guest may open: none.
      maxConcurrentStreams: 0,
      initialWindowSize: limits.streamWindowBytes,
      maxFrameSize: limits.frameBytes,
      maxHeaderListSize: limits.headerListBytes,
    },
  });
}

function socketFault(cause: unknown, path: string): GuestError {
  if (cause instanceof GuestError) return cause;
  const connecting = cause instanceof Error && "syscall" in cause && cause.syscall === "connect";
  if (connecting) return new GuestError("no-guest", `no guest listens on ${path}`, { cause });
  return new GuestError("channel-lost", "the channel to the guest broke", { cause });
}

function sessionFault(cause: unknown): GuestError {
  if (cause instanceof GuestError) return cause;
  const code = errorCode(
    cause instanceof Error && errorCode(cause) === "ERR_HTTP2_STREAM_CANCEL" ? cause.cause : cause,
  );
  if (code === "ERR_HTTP2_ERROR" || code === "ERR_HTTP2_TOO_MANY_INVALID_FRAMES") {
    return new GuestError("guest-misbehaved", "the guest broke the HTTP/2 protocol", { cause });
  }
  return new GuestError("channel-lost", "the channel to the guest broke", { cause });
}
