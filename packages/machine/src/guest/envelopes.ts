import { GuestError } from "./errors.ts";

// gRPC over HTTP/2, "Length-Prefixed-Message": one byte of flags, four of length, the message.
const prefixBytes = 5;
const firstCapacity = 4096;
/** A stream keeps a buffer of up to this size from one message to the next: the usual message is a 64 KiB chunk. */
const keptCapacity = 68 * 1024;

/** Bytes that all calls of one channel hold in unfinished messages. */
export class AssemblyBudget {
  #used = 0;
  readonly #limit: number;
  constructor(limit: number) {
    this.#limit = limit;
  }
  /** @throws GuestError `guest-misbehaved` */
  take(bytes: number): void {
    this.#used += bytes;
    if (this.#used > this.#limit) {
      throw new GuestError("guest-misbehaved", "the guest began too many long messages without ending them");
    }
  }
  give(bytes: number): void {
    this.#used -= bytes;
  }
  get used(): number {
    return this.#used;
  }
}

/**
 * Cuts a stream of bytes at message borders. A message that arrives in crumbs is gathered in one growing buffer (a list
 * of one-byte pieces costs a hundred times its content), and memory follows what arrived, not what a prefix claims.
 */
export class EnvelopeAssembler implements Disposable {
  readonly #maxMessage: number;
  readonly #budget: AssemblyBudget;
  #held = Buffer.from(new ArrayBuffer(0));
  #filled = 0;

  constructor(maxMessage: number, budget: AssemblyBudget) {
    this.#maxMessage = maxMessage;
    this.#budget = budget;
  }

  /**
   * Pieces that hold whole envelopes only, in order. A piece is its taker's.
   * @throws GuestError `guest-misbehaved` for a compressed or too long message, or when the budget is spent
   */
  *push(chunk: Buffer): Generator<Buffer> {
    let at = 0;
    if (this.#filled > 0) {
      at = this.#fill(chunk);
      if (this.#filled < prefixBytes || this.#filled < this.#end()) return;
      // A copy, since the buffer serves the next message: who relays a piece may have it in a queue for long.
      yield Buffer.from(this.#held.subarray(0, this.#filled));
      this.#filled = 0;
      if (this.#held.length > keptCapacity) this.#release();
    }
    const whole = this.#scan(chunk, at);
    if (whole > at) yield chunk.subarray(at, whole);
    if (whole < chunk.length) this.#keep(chunk.subarray(whole));
  }

  /** True between two messages. */
  get empty(): boolean {
    return this.#filled === 0;
  }

  [Symbol.dispose](): void {
    this.#release();
  }

  /** The end of the last whole envelope in `chunk` from `at`. */
  #scan(chunk: Buffer, at: number): number {
    let end = at;
    while (chunk.length - end >= prefixBytes) {
      const next = end + prefixBytes + this.#length(chunk, end);
      if (next > chunk.length) break;
      end = next;
    }
    return end;
  }

  #length(bytes: Buffer, at: number): number {
    if (bytes[at] !== 0) throw new GuestError("guest-misbehaved", "the guest sent a compressed message");
    const length = bytes.readUInt32BE(at + 1);
    if (length > this.#maxMessage) throw new GuestError("guest-misbehaved", "the guest sent a message over the limit");
    return length;
  }

  #end(): number {
    return prefixBytes + this.#length(this.#held, 0);
  }

  /** Moves bytes into the message at hand; returns how many were taken. */
  #fill(chunk: Buffer): number {
    let at = 0;
    if (this.#filled < prefixBytes) {
      at = this.#append(chunk, 0, prefixBytes - this.#filled);
      if (this.#filled < prefixBytes) return at;
    }
    return at + this.#append(chunk, at, this.#end() - this.#filled);
  }

  #append(chunk: Buffer, at: number, wanted: number): number {
    const count = Math.min(wanted, chunk.length - at);
    this.#reserve(this.#filled + count);
    chunk.copy(this.#held, this.#filled, at, at + count);
    this.#filled += count;
    return count;
  }

  #keep(rest: Buffer): void {
    this.#append(rest, 0, rest.length);
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#held.length) return;
    const known = this.#filled >= prefixBytes ? this.#end() : this.#maxMessage + prefixBytes;
    const capacity = Math.min(known, Math.max(bytes, this.#held.length * 2, firstCapacity));
    this.#budget.take(capacity - this.#held.length);
    this.#held = Buffer.from(this.#held.buffer.transfer(capacity));
  }

  #release(): void {
    this.#budget.give(this.#held.length);
    // Detached, its memory is free at once; V8 may let tens of megabytes of such garbage wait for a full collection.
    this.#held = Buffer.from(this.#held.buffer.transfer(0));
    this.#filled = 0;
  }
}
