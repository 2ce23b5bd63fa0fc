import { randomBytes } from "node:crypto";
import type { Client, Transport } from "@connectrpc/connect";
import type { UniversalClientFn } from "@connectrpc/connect/protocol";
import { createTransport } from "@connectrpc/connect/protocol-grpc";
import { Files, type HelloResponse, Machine, Ports, Processes } from "@exai/api/guest";
import { createGuestClient } from "./client.ts";
import { AssemblyBudget } from "./envelopes.ts";
import { GuestError } from "./errors.ts";
import { createGuestHttpClient, toConnectError } from "./http-client.ts";
import { HttpSession } from "./http-session.ts";
import { type GuestLimits, guestLimits } from "./limits.ts";

/** Version of spec/guest.proto. */
export const guestContract = 1;

export interface ConnectOptions {
  /** Becomes the guest's hostname: [a-z0-9-]{1,63}. */
  hostname: string;
  /** For tests and for machines that need longer. */
  limits?: Partial<GuestLimits>;
  signal?: AbortSignal;
  /** Told when somebody has taken the connection; a hello may take long from there. */
  connected?: () => void;
  nowMs?: () => number;
  random?: (bytes: number) => Uint8Array;
}

/**
 * Typed calls into one guest. A failed call rejects with a `ConnectError`: with the guest's gRPC status, or, when the
 * channel was at fault, with a `GuestError` as its cause (`channelFault` finds it). Output comes as it is asked for:
 * a stream that is not read stops the guest's writer.
 */
export interface GuestSession extends Disposable {
  readonly processes: Client<typeof Processes>;
  readonly files: Client<typeof Files>;
  readonly ports: Client<typeof Ports>;
  readonly machine: Client<typeof Machine>;
  /**
   * The same channel below the typed clients, for who passes messages on without decoding them: whole, uncompressed
   * gRPC messages within the limits come out of it, and nothing else is promised of their bytes.
   */
  readonly call: UniversalClientFn;
  readonly hello: HelloResponse;
  /** Settles, never rejects, when the channel is gone; dial again then. */
  readonly lost: Promise<GuestError>;
}

/**
 * Connects to a guest's channel (QEMU's UNIX socket of its virtio-serial port) and says hello. The bytes wait in QEMU
 * until the guest opens its port, so this may be called as soon as the socket exists.
 * @throws GuestError `no-guest`, `channel-lost`, `wrong-contract`, `guest-misbehaved`
 */
export async function connectGuest(socketPath: string, options: ConnectOptions): Promise<GuestSession> {
  const limits = { ...guestLimits, ...options.limits };
  const http = new HttpSession(socketPath, limits, options.connected);
  const timer = setTimeout(
    () => http.fail(new GuestError("no-guest", `the guest did not answer within ${limits.helloTimeoutMs} ms`)),
    limits.helloTimeoutMs,
  );
  const abort = () => http.fail(new GuestError("closed", "the caller gave up"));
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    if (options.signal?.aborted) abort();
    await opened(http);
    const call = createGuestHttpClient(http, new AssemblyBudget(limits.assemblyBytes));
    const transport = createGuestTransport(call, limits);
    const machine = createGuestClient(Machine, transport);
    const hello = await sayHello(machine, options);
    return {
      machine,
      call,
      hello,
      processes: createGuestClient(Processes, transport),
      files: createGuestClient(Files, transport),
      ports: createGuestClient(Ports, transport),
      lost: http.lost,
      [Symbol.dispose]: () => http[Symbol.dispose](),
    };
  } catch (error) {
    const fault = error instanceof GuestError ? error : (http.fault ?? helloFault(error));
    http.fail(fault);
    throw fault;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", abort);
  }
}

/**
 * A guest that was connected to a moment ago may still send the rest of that conversation: what comes before its first
 * SETTINGS and makes no sense is the end of the old connection, not an attack. Each connection tells it to start over.
 */
async function opened(http: HttpSession): Promise<void> {
  try {
    await http.opened();
  } catch (cause) {
    if (!(cause instanceof GuestError) || cause.code !== "guest-misbehaved") throw cause;
    throw new GuestError("channel-lost", "the guest did not begin the connection anew", { cause });
  }
}

function createGuestTransport(httpClient: UniversalClientFn, limits: GuestLimits): Transport {
  return createTransport({
    httpClient,
    baseUrl: "http://guest",
    useBinaryFormat: true,
    interceptors: [],
    acceptCompression: [],
    sendCompression: null,
    compressMinBytes: 0xffff_ffff,
    // An unknown field of two bytes would become an object.
    binaryOptions: { readUnknownFields: false },
    readMaxBytes: limits.listBytes,
    writeMaxBytes: limits.listBytes,
  });
}

/**
 * Time, randomness and the end of a hold for a guest that stood still, on a connection that outlived it.
 * @throws GuestError `wrong-contract`; ConnectError with the guest's reason
 */
export async function sayHello(
  machine: Client<typeof Machine>,
  options: Pick<ConnectOptions, "hostname" | "nowMs" | "random">,
): Promise<HelloResponse> {
  // Sent only now: a clock that had waited in the port while the guest booted would be late.
  const now = BigInt(Math.round((options.nowMs ?? Date.now)() * 1000)) * 1000n;
  const entropy = (options.random ?? randomBytes)(64);
  const hello = await machine.hello({ contract: guestContract, nowUnixNs: now, entropy, hostname: options.hostname });
  if (hello.contract !== guestContract) {
    throw new GuestError("wrong-contract", `the guest speaks contract ${hello.contract}, this host ${guestContract}`);
  }
  return hello;
}

function helloFault(error: unknown): GuestError {
  return new GuestError("guest-misbehaved", "the guest refused to say hello", { cause: toConnectError(error) });
}
