import { GuestError } from "./errors.ts";

/**
 * Counts the fields of a message and of the messages in it, one level down, as the wire format shows them
 * (protobuf.dev, "Encoding"). Two bytes on the wire make an entry of a list, and an object of hundreds of bytes.
 * @throws GuestError `guest-misbehaved` when there are more than `most`, or it is not the wire format
 */
export function boundFields(message: Uint8Array, most: number): void {
  let count = 0;
  const walk = (from: number, to: number, deeper: boolean) => {
    const reader = new Reader(message, from, to);
    while (!reader.ended) {
      if (++count > most) throw new GuestError("guest-misbehaved", `the guest's answer has more than ${most} fields`);
      const inner = reader.field();
      if (inner !== undefined && deeper) walkQuietly(inner.from, inner.to);
    }
  };
  // What is not a message down there is a string or bytes, and makes one object only.
  const walkQuietly = (from: number, to: number) => {
    const before = count;
    try {
      walk(from, to, false);
    } catch (error) {
      if (error instanceof NotFields) count = before;
      else throw error;
    }
  };
  try {
    walk(0, message.length, true);
  } catch (cause) {
    if (!(cause instanceof NotFields)) throw cause;
    throw new GuestError("guest-misbehaved", "the guest's answer is not a message", { cause });
  }
}

class NotFields extends Error {}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #to: number;
  #at: number;
  constructor(bytes: Uint8Array, from: number, to: number) {
    this.#bytes = bytes;
    this.#at = from;
    this.#to = to;
  }

  get ended(): boolean {
    return this.#at >= this.#to;
  }

  /** Passes one field; returns where its content lies if it has a length. */
  field(): { from: number; to: number } | undefined {
    const wireType = this.#varint() % 8;
    if (wireType === 0) this.#varint();
    else if (wireType === 1) this.#skip(8);
    else if (wireType === 5) this.#skip(4);
    else if (wireType === 2) {
      const length = this.#varint();
      const from = this.#at;
      this.#skip(length);
      return { from, to: this.#at };
    } else throw new NotFields();
    return undefined;
  }

  #varint(): number {
    let value = 0;
    for (let shift = 0; shift < 10; shift++) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined || this.#at > this.#to) throw new NotFields();
      value += (byte & 127) * 2 ** (7 * shift);
      if (byte < 128) return value;
    }
    throw new NotFields();
  }

  #skip(bytes: number): void {
    this.#at += bytes;
    if (this.#at > this.#to) throw new NotFields();
  }
}
