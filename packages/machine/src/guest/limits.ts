/**
 * What a guest may make the host hold or do. Every byte from a guest is hostile: root in the guest replaces the agent
 * at will. A limit that is passed either slows the guest down, ends one call, or cuts the channel; it never costs
 * another workspace. docs/internals/guest-channel.md says which does which; tests/vm/lying-guest.test.ts holds them.
 */
export interface GuestLimits {
  /** Bytes of one stream that the guest may send ahead of its reader. 128 KiB keep a channel of 0.8 ms round trip
   * (emulation) above 100 MB/s, and with `streams` bound what unread streams can hold (12 MiB). */
  readonly streamWindowBytes: number;
  /** The connection's window; Node gives it back on arrival, so it bounds nothing, it must only not be the brake. */
  readonly sessionWindowBytes: number;
  /** Calls open at once on one channel; more are refused on our side. */
  readonly streams: number;
  /** Longest message of a stream: a chunk of 64 KiB, a path or two, and framing. */
  readonly chunkBytes: number;
  /** Longest answer of other calls: a few numbers, paths, an error. */
  readonly answerBytes: number;
  /** Longest answer that holds a list (1 MiB in the contract), and how many fields may be in it: an entry of two bytes
   * becomes an object of hundreds. */
  readonly listBytes: number;
  readonly listFields: number;
  /** Bytes of messages that have begun and not ended, over all calls of a channel. */
  readonly assemblyBytes: number;
  /** Response headers or trailers: bytes as RFC 9113 counts them (section 6.5.2), and pairs. gRPC needs about ten. */
  readonly headerListBytes: number;
  readonly headerPairs: number;
  /** Largest HTTP/2 frame. 16 KiB is the least that the protocol allows us to ask for. */
  readonly frameBytes: number;
  /** Entries of one SETTINGS frame. */
  readonly settings: number;
  /** Node's own bound for a session's queues, megabytes. */
  readonly sessionMemoryMb: number;

  /** Frames that carry less than a kilobyte cost more to handle than to send. Beyond this rate the guest's socket
   * is not read, which slows it and nobody else: 8000/s are about 1500 calls a second, or a tenth of a core. */
  readonly smallFramesPerSecond: number;
  readonly smallFramesBurst: number;
  /** Bytes beyond which the socket is not read for a while: a third of what one core could take, so that an endless
   * download leaves the rest to the other workspaces, and the garbage collector time to follow. */
  readonly bytesPerSecond: number;
  readonly bytesBurst: number;
  /** Frames that an honest agent hardly ever sends (RST_STREAM, PING, SETTINGS, CONTINUATION, PRIORITY, empty DATA,
   * unknown types). Beyond this rate the channel is cut. */
  readonly oddFramesPerSecond: number;
  readonly oddFramesBurst: number;
  /** DATA frames that arrived and were not read yet, over all calls: each costs an object, however short it is. */
  readonly unreadFrames: number;
  /** HEADERS frames of one stream: response, trailers, and one to spare. An endless 1xx is a flood. */
  readonly headersPerStream: number;

  /** Milliseconds for TCP-like establishing: connect, SETTINGS, Hello. */
  readonly helloTimeoutMs: number;
  /** Default deadline of a unary call that has none of its own. */
  readonly unaryTimeoutMs: number;
  /** Until a stream's response headers must come. */
  readonly headersTimeoutMs: number;
  /** How long an upload may go without the guest taking a byte, or answering after the last. */
  readonly stallTimeoutMs: number;
  /** A silent channel with open calls is pinged this often, and lost when no answer comes in `pingTimeoutMs`. Generous,
   * since an emulated guest among forty others may not run for seconds. */
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
  /** After GOAWAY running calls may still end; then the channel is cut. */
  readonly goawayGraceMs: number;
}

const KiB = 1024;

export const guestLimits: GuestLimits = {
  streamWindowBytes: 128 * KiB,
  sessionWindowBytes: 4096 * KiB,
  streams: 96,
  chunkBytes: 80 * KiB,
  answerBytes: 16 * KiB,
  listBytes: 1024 * KiB,
  listFields: 32_768,
  assemblyBytes: 8192 * KiB,
  headerListBytes: 16 * KiB,
  headerPairs: 64,
  frameBytes: 16 * KiB,
  settings: 16,
  sessionMemoryMb: 10,
  smallFramesPerSecond: 8000,
  smallFramesBurst: 4000,
  bytesPerSecond: 384 * 1024 * KiB,
  bytesBurst: 4096 * KiB,
  oddFramesPerSecond: 100,
  oddFramesBurst: 1000,
  unreadFrames: 65_536,
  headersPerStream: 3,
  helloTimeoutMs: 10_000,
  unaryTimeoutMs: 60_000,
  headersTimeoutMs: 60_000,
  stallTimeoutMs: 120_000,
  pingIntervalMs: 15_000,
  pingTimeoutMs: 30_000,
  goawayGraceMs: 1000,
};
