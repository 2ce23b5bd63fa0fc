import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { data, empty, envelope, flag, frame, header, responseHeaders, trailers, type, u32 } from "./frames.ts";

/** What the host does with the liar: the call under attack. */
export type Call = "hello" | "unary" | "read" | "read-slowly" | "list" | "upload" | "hoard";

export interface Wire {
  /** Resolves when the bytes are on their way; false once the host has cut the connection. */
  send(bytes: Buffer): Promise<boolean>;
}

export interface Attack {
  readonly call: Call;
  /** Once for each stream that the host opens, after Hello (for `hello`: at once, without an answer). */
  run(wire: Wire, stream: number): Promise<void>;
  /** Never answers pings; never sends SETTINGS; grants no window. */
  readonly deaf?: boolean;
  readonly mute?: boolean;
  readonly noWindow?: boolean;
  readonly contract?: number;
  /** What the caller may see as the channel's fault; undefined: a plain status, or none, will do. */
  readonly fault?: string;
}

/** The same bytes again and again, 32 KiB at a time, as fast as they are taken. */
async function flood(wire: Wire, unit: Buffer): Promise<void> {
  const batch = Buffer.concat(Array<Buffer>(Math.max(1, Math.floor(32_768 / unit.length))).fill(unit));
  while (await wire.send(batch)) await delay(0);
}

const floodAfter =
  (start: (stream: number) => Buffer, unit: (stream: number) => Buffer) => async (wire: Wire, stream: number) => {
    await wire.send(start(stream));
    await flood(wire, unit(stream));
  };
const floodOf = (unit: (stream: number) => Buffer) => floodAfter(() => empty, unit);
const once = (bytes: (stream: number) => Buffer) => async (wire: Wire, stream: number) => {
  await wire.send(bytes(stream));
};
const pad = (bytes: number): Buffer => Buffer.alloc(bytes, "x");
const bigHeaders = (count: number, bytes: number): Buffer[] =>
  Array.from({ length: count }, (_, at) => header(`x-${at}`, "y".repeat(bytes)));

/** One header block cut into HEADERS and CONTINUATION frames of 16 KiB. */
function longBlock(stream: number, block: Buffer, last: boolean): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < block.length; at += 16_384) {
    const end = at + 16_384 >= block.length ? flag.endHeaders : 0;
    const kind = at === 0 ? type.headers : type.continuation;
    parts.push(frame(kind, end | (at === 0 && last ? flag.endStream : 0), stream, block.subarray(at, at + 16_384)));
  }
  return Buffer.concat(parts);
}

const status = Buffer.from([0x88]);
/** A chunk as it should be: `data` (field 2) of 64 KiB. */
const longMessage = envelope(Buffer.concat([Buffer.from([0x12, 0x80, 0x80, 0x04]), pad(65_536)]));
/** Two bytes each: an unknown field, an entry of a list, an entry of a list within one. */
const unknownFields = envelope(Buffer.alloc(80_000, Buffer.from([0x78, 0x00])));
const emptyEntries = envelope(Buffer.alloc(1_000_000, Buffer.from([0x0a, 0x00])));
const inner = Buffer.alloc(900_000, Buffer.from([0x1a, 0x00]));
const emptyArguments = envelope(Buffer.concat([Buffer.from([0x0a, 0xa0, 0xf7, 0x36]), inner]));

/** A message in DATA frames of 16 KiB. */
function inFrames(stream: number, message: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += 16_384) parts.push(data(stream, message.subarray(at, at + 16_384)));
  return Buffer.concat(parts);
}

export const attacks: Readonly<Record<string, Attack>> = {
  "RST_STREAM flood": {
    call: "unary",
    run: floodOf((stream) => frame(type.rstStream, 0, stream, u32(8))),
    fault: "guest-misbehaved",
  },
  "CONTINUATION flood": {
    call: "read",
    run: floodAfter(
      (stream) => frame(type.headers, 0, stream, status),
      (stream) => frame(type.continuation, 0, stream, header("a", "b")),
    ),
    fault: "guest-misbehaved",
  },
  "empty CONTINUATION flood": {
    call: "read",
    run: floodAfter(
      (stream) => frame(type.headers, 0, stream, status),
      (stream) => frame(type.continuation, 0, stream),
    ),
    fault: "guest-misbehaved",
  },
  "empty DATA flood": {
    call: "read",
    run: floodAfter(responseHeaders, (stream) => data(stream, empty)),
    fault: "guest-misbehaved",
  },
  "PING flood": { call: "read", run: floodOf(() => frame(type.ping, 0, 0, pad(8))), fault: "guest-misbehaved" },
  "SETTINGS flood": { call: "read", run: floodOf(() => frame(type.settings, 0, 0)), fault: "guest-misbehaved" },
  "SETTINGS with 2000 entries": {
    call: "read",
    run: once(() => frame(type.settings, 0, 0, Buffer.alloc(12_000, Buffer.from([0, 0x77, 0, 0, 0, 1])))),
    fault: "guest-misbehaved",
  },
  "PRIORITY flood": {
    call: "read",
    run: floodOf((stream) => frame(type.priority, 0, stream, Buffer.concat([u32(0), Buffer.from([1])]))),
    fault: "guest-misbehaved",
  },
  "flood of an unknown frame type": {
    call: "read",
    run: floodOf(() => frame(0xee, 0, 0, pad(1))),
    fault: "guest-misbehaved",
  },
  "WINDOW_UPDATE flood": { call: "unary", run: floodOf(() => frame(type.windowUpdate, 0, 0, u32(1))) },
  "WINDOW_UPDATE over 2^31": {
    call: "unary",
    run: once((stream) => {
      const update = frame(type.windowUpdate, 0, stream, u32(0x7fff_ffff));
      return Buffer.concat([update, update]);
    }),
  },
  "connection window over 2^31": {
    call: "unary",
    run: once(() => {
      const update = frame(type.windowUpdate, 0, 0, u32(0x7fff_ffff));
      return Buffer.concat([update, update]);
    }),
    fault: "guest-misbehaved",
  },
  "WINDOW_UPDATE of 0": {
    call: "unary",
    run: once(() => frame(type.windowUpdate, 0, 0, u32(0))),
    fault: "guest-misbehaved",
  },
  "DATA beyond the window": {
    call: "read-slowly",
    run: floodAfter(responseHeaders, (stream) => data(stream, longMessage.subarray(0, 16_384))),
  },
  "1xx flood": {
    call: "read",
    run: floodOf((stream) =>
      frame(type.headers, flag.endHeaders, stream, Buffer.concat([Buffer.from([0x08, 3]), Buffer.from("103")])),
    ),
    fault: "guest-misbehaved",
  },
  "1 MiB of headers": {
    call: "unary",
    run: once((stream) => longBlock(stream, Buffer.concat([status, ...bigHeaders(128, 8192)]), false)),
  },
  "1000 headers": {
    call: "unary",
    run: once((stream) => longBlock(stream, Buffer.concat([status, ...bigHeaders(1000, 1)]), false)),
  },
  "1 MiB of trailers": {
    call: "read",
    run: once((stream) =>
      Buffer.concat([responseHeaders(stream), longBlock(stream, Buffer.concat(bigHeaders(128, 8192)), true)]),
    ),
  },
  PUSH_PROMISE: {
    call: "read",
    run: once((stream) =>
      frame(type.pushPromise, flag.endHeaders, stream, Buffer.concat([u32(2), Buffer.from([0x82, 0x86, 0x84])])),
    ),
    fault: "guest-misbehaved",
  },
  "a stream of its own": { call: "read", run: once(() => responseHeaders(2)), fault: "guest-misbehaved" },
  "a message of 4 GiB": {
    call: "unary",
    run: once((stream) => Buffer.concat([responseHeaders(stream), data(stream, envelope(pad(10), 0, 0xffff_ffff))])),
    fault: "guest-misbehaved",
  },
  "a compressed message": {
    call: "unary",
    run: once((stream) =>
      Buffer.concat([responseHeaders(stream), data(stream, envelope(pad(10), 1)), trailers(stream)]),
    ),
    fault: "guest-misbehaved",
  },
  "an encoding that nobody asked for": {
    call: "unary",
    run: once((stream) =>
      Buffer.concat([
        responseHeaders(stream, header("grpc-encoding", "gzip")),
        data(stream, envelope(pad(10), 1)),
        trailers(stream),
      ]),
    ),
  },
  "a message that is no protobuf": {
    call: "unary",
    run: once((stream) =>
      Buffer.concat([responseHeaders(stream), data(stream, envelope(Buffer.alloc(4000, 0xff))), trailers(stream)]),
    ),
  },
  "an end within a message": {
    call: "read",
    run: once((stream) =>
      Buffer.concat([responseHeaders(stream), data(stream, envelope(pad(10), 0, 1000)), trailers(stream)]),
    ),
    fault: "guest-misbehaved",
  },
  "an end without a status": {
    call: "read",
    run: once((stream) => Buffer.concat([responseHeaders(stream), data(stream, empty, flag.endStream)])),
  },
  "one-byte frames": {
    call: "read",
    run: async (wire, stream) => {
      await wire.send(responseHeaders(stream));
      await wire.send(data(stream, envelope(empty, 0, 80_000)));
      await flood(wire, data(stream, pad(1)));
    },
  },
  "one-byte frames that nobody reads": {
    call: "hoard",
    run: async (wire, stream) => {
      await wire.send(responseHeaders(stream));
      await wire.send(Buffer.concat(Array<Buffer>(60_000).fill(data(stream, Buffer.alloc(1)))));
    },
  },
  "unread streams filled to the brim": {
    call: "hoard",
    run: async (wire, stream) => {
      await wire.send(responseHeaders(stream));
      // Half a message each: what is read is kept as unfinished, the rest stays in the window.
      const body = envelope(pad(79_000), 0, 80_000);
      for (let at = 0; at < body.length; at += 16_384) await wire.send(data(stream, body.subarray(at, at + 16_384)));
    },
  },
  "an endless download": {
    call: "read",
    run: floodAfter(responseHeaders, (stream) => inFrames(stream, longMessage)),
  },
  "unknown fields": {
    call: "read",
    run: floodAfter(responseHeaders, (stream) => inFrames(stream, unknownFields)),
  },
  "a list of 500000 empty entries": {
    call: "list",
    run: once((stream) => Buffer.concat([responseHeaders(stream), inFrames(stream, emptyEntries), trailers(stream)])),
    fault: "guest-misbehaved",
  },
  "a list in a list of 450000 empty entries": {
    call: "list",
    run: once((stream) => Buffer.concat([responseHeaders(stream), inFrames(stream, emptyArguments), trailers(stream)])),
    fault: "guest-misbehaved",
  },
  "no answer to a call": { call: "unary", run: async () => undefined, fault: "stalled" },
  "no answer to a stream": { call: "read", run: async () => undefined, fault: "stalled" },
  "headers and then silence": { call: "unary", run: once(responseHeaders), fault: "stalled" },
  "a slow drip": {
    call: "unary",
    run: async (wire, stream) => {
      await wire.send(responseHeaders(stream));
      const body = envelope(pad(10_000));
      for (let at = 0; await wire.send(data(stream, body.subarray(at, at + 1))); at++) await delay(20);
    },
    fault: "stalled",
  },
  "no window for an upload": { call: "upload", run: async () => undefined, noWindow: true, fault: "stalled" },
  "deaf to pings": { call: "read", run: once(responseHeaders), deaf: true, fault: "unresponsive" },
  garbage: {
    call: "read",
    run: async (wire) => {
      while (await wire.send(randomBytes(32_768))) await delay(0);
    },
    fault: "guest-misbehaved",
  },
  GOAWAY: { call: "read", run: once(() => frame(type.goaway, 0, 0, u32(0x7fff_ffff, 0))), fault: "channel-lost" },
  "GOAWAY with an error": { call: "read", run: once(() => frame(type.goaway, 0, 0, u32(0, 2))), fault: "channel-lost" },
  "no SETTINGS": { call: "hello", run: async () => undefined, mute: true, fault: "no-guest" },
  "no answer to Hello": { call: "hello", run: async () => undefined, fault: "no-guest" },
  "another contract": { call: "hello", run: async () => undefined, contract: 2, fault: "wrong-contract" },
  "a Hello of garbage": {
    call: "hello",
    run: once((stream) => Buffer.concat([responseHeaders(stream), data(stream, envelope(pad(99))), trailers(stream)])),
    fault: "guest-misbehaved",
  },
  "HTTP/1.1": {
    call: "hello",
    run: async () => undefined,
    mute: true,
    fault: "channel-lost",
  },
};
