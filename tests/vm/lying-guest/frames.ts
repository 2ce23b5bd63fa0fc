/** HTTP/2 frames made by hand (RFC 9113), for a peer that keeps to nothing. */

export const type = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const flag = { endStream: 1, ack: 1, endHeaders: 4 } as const;
export const prefaceBytes = 24;
export const empty = Buffer.alloc(0);

export function frame(kind: number, flags: number, stream: number, payload: Uint8Array = empty): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = kind;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export const u32 = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, at) => {
    bytes.writeUInt32BE(value, at * 4);
  });
  return bytes;
};

/** HPACK (RFC 7541): a literal that is never indexed, without Huffman. */
export function header(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0x10]), text(name), text(value)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  return Buffer.concat([hpackInteger(bytes.length), bytes]);
}

function hpackInteger(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** `:status: 200` of the static table. */
const status200 = Buffer.from([0x88]);

export const responseHeaders = (stream: number, ...more: Buffer[]): Buffer =>
  frame(
    type.headers,
    flag.endHeaders,
    stream,
    Buffer.concat([status200, header("content-type", "application/grpc+proto"), ...more]),
  );

export const trailers = (stream: number, ...more: Buffer[]): Buffer =>
  frame(type.headers, flag.endHeaders | flag.endStream, stream, Buffer.concat([header("grpc-status", "0"), ...more]));

export function envelope(message: Uint8Array, flags = 0, claimed = message.length): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flags;
  head.writeUInt32BE(claimed, 1);
  return Buffer.concat([head, message]);
}

export const data = (stream: number, payload: Uint8Array, flags = 0): Buffer =>
  frame(type.data, flags, stream, payload);

export interface Frame {
  kind: number;
  flags: number;
  stream: number;
  payload: Buffer;
}

/** Cuts what the host sends into frames; it is honest, so nothing is checked. */
export class FrameReader {
  #held: Buffer = empty;
  #preface = prefaceBytes;
  *push(chunk: Buffer): Generator<Frame> {
    this.#held = Buffer.concat([this.#held, chunk]);
    if (this.#preface > 0) {
      if (this.#held.length < this.#preface) return;
      this.#held = this.#held.subarray(this.#preface);
      this.#preface = 0;
    }
    while (this.#held.length >= 9) {
      const length = this.#held.readUIntBE(0, 3);
      if (this.#held.length < 9 + length) return;
      const [kind = 0, flags = 0] = this.#held.subarray(3, 5);
      const stream = this.#held.readUInt32BE(5) & 0x7fff_ffff;
      yield { kind, flags, stream, payload: this.#held.subarray(9, 9 + length) };
      this.#held = this.#held.subarray(9 + length);
    }
  }
}
