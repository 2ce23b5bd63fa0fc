import { GuestError } from "./errors.ts";
import type { GuestLimits } from "./limits.ts";

// RFC 9113 section 6.
const DATA = 0;
const HEADERS = 1;
const PUSH_PROMISE = 5;
const WINDOW_UPDATE = 8;
const END_STREAM = 0x1;
const ACK = 0x1;
const SETTINGS = 4;
const PING = 6;

const headerBytes = 9;
/** DATA of at least this size pays for itself. */
const bulkBytes = 1024;

/** A bucket of `burst` tokens that fills at `perSecond`; may be overdrawn, then `waitMs` says for how long. */
class TokenBucket {
  #tokens: number;
  #at: number;
  readonly #perMs: number;
  readonly #burst: number;
  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = nowMs;
  }
  take(count: number, nowMs: number): void {
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#at) * this.#perMs) - count;
    this.#at = nowMs;
  }
  get overdrawn(): boolean {
    return this.#tokens < 0;
  }
  get waitMs(): number {
    return this.#tokens < 0 ? Math.ceil(-this.#tokens / this.#perMs) : 0;
  }
}

interface StreamCount {
  headers: number;
  unread: number;
}

/**
 * Reads the frame headers that go by (RFC 9113 section 4.1) and counts, before the HTTP/2 engine spends anything on
 * them: the engine has no limit on PING, empty DATA or RST_STREAM that would leave time for the other workspaces.
 */
export class FrameMeter {
  readonly #limits: GuestLimits;
  readonly #now: () => number;
  readonly #small: TokenBucket;
  readonly #odd: TokenBucket;
  readonly #bytes: TokenBucket;
  readonly #streams = new Map<number, StreamCount>();
  readonly #header = Buffer.alloc(headerBytes);
  #headerFilled = 0;
  #began = false;
  #skip = 0;
  #unread = 0;

  constructor(limits: GuestLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
    this.#small = new TokenBucket(limits.smallFramesPerSecond, limits.smallFramesBurst, now());
    this.#odd = new TokenBucket(limits.oddFramesPerSecond, limits.oddFramesBurst, now());
    this.#bytes = new TokenBucket(limits.bytesPerSecond, limits.bytesBurst, now());
  }

  /** From now on frames of this stream count as unread until `drained`. */
  open(stream: number): void {
    this.#streams.set(stream, { headers: 0, unread: 0 });
  }
  /** The reader took all that the stream held. */
  drained(stream: number): void {
    const count = this.#streams.get(stream);
    if (count === undefined) return;
    this.#unread -= count.unread;
    count.unread = 0;
  }
  close(stream: number): void {
    this.#unread -= this.#streams.get(stream)?.unread ?? 0;
    this.#streams.delete(stream);
  }

  /**
   * Takes the next bytes from the guest and returns for how many milliseconds nothing more should be read.
   * @throws GuestError `guest-misbehaved`
   */
  push(chunk: Buffer): number {
    let small = 0;
    let odd = 0;
    let at = 0;
    while (at < chunk.length) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, chunk.length - at);
        this.#skip -= step;
        at += step;
        continue;
      }
      const wanted = Math.min(headerBytes - this.#headerFilled, chunk.length - at);
      chunk.copy(this.#header, this.#headerFilled, at, at + wanted);
      this.#headerFilled += wanted;
      at += wanted;
      if (this.#headerFilled < headerBytes) break;
      this.#headerFilled = 0;
      const cost = this.#frame();
      if (cost !== "bulk") small++;
      if (cost === "odd") odd++;
    }
    const now = this.#now();
    this.#odd.take(odd, now);
    if (this.#odd.overdrawn)
      throw new GuestError("guest-misbehaved", "the guest floods the channel with control frames");
    this.#small.take(small, now);
    this.#bytes.take(chunk.length, now);
    return Math.max(this.#small.waitMs, this.#bytes.waitMs);
  }

  #frame(): "bulk" | "small" | "odd" {
    const length = this.#header.readUIntBE(0, 3);
    const type = this.#header[3];
    const flags = this.#header[4] ?? 0;
    const stream = this.#header.readUInt32BE(5) & 0x7fff_ffff;
    if (length > this.#limits.frameBytes)
      throw new GuestError("guest-misbehaved", "the guest sent a frame over the limit");
    // A server's preface is SETTINGS (section 3.4): noise costs one frame, not all that fit into a read.
    if (!this.#began && (type !== SETTINGS || (flags & ACK) !== 0))
      throw new GuestError("guest-misbehaved", "the guest did not begin with its settings");
    this.#began = true;
    this.#skip = length;
    switch (type) {
      case DATA:
        this.#countData(stream);
        if (length >= bulkBytes) return "bulk";
        return length === 0 && (flags & END_STREAM) === 0 ? "odd" : "small";
      case HEADERS:
        this.#countHeaders(stream);
        return "small";
      case WINDOW_UPDATE:
        return "small";
      case SETTINGS:
      case PING:
        return (flags & ACK) !== 0 ? "small" : "odd";
      case PUSH_PROMISE:
        throw new GuestError("guest-misbehaved", "the guest tried to push");
      default:
        return "odd";
    }
  }

  #countData(stream: number): void {
    const count = this.#streams.get(stream);
    if (count === undefined) return;
    count.unread++;
    if (++this.#unread > this.#limits.unreadFrames) {
      throw new GuestError("guest-misbehaved", "the guest sent too many short frames that nobody has read");
    }
  }

  #countHeaders(stream: number): void {
    const count = this.#streams.get(stream);
    if (count !== undefined && ++count.headers > this.#limits.headersPerStream) {
      throw new GuestError("guest-misbehaved", "the guest sent headers again and again");
    }
  }
}
