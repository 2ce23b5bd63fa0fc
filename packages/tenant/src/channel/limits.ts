/** What one client, and all of them, may make this process hold. Only the tenant's own clients share it. */
export const channelLimits = {
  /** Connections; of those, how many may not have shown a good token yet, and for how long. */
  sessions: 256,
  /** Sockets, those before their handshake among them. */
  sockets: 2048,
  strangers: 64,
  strangerMs: 10_000,
  handshakeMs: 5_000,
  /** Calls at once on one connection. */
  streams: 128,
  headerBytes: 16 << 10,
  headerPairs: 64,
  /** 1 MiB of the contract and its framing. */
  messageBytes: (1024 + 64) << 10,
  /** What a stream may send ahead of its reader: little before a good token, then enough for a fast upload. */
  strangerWindowBytes: 64 << 10,
  streamWindowBytes: 1 << 20,
  sessionWindowBytes: 8 << 20,
  sessionMemoryMb: 16,
  /** A connection without a call is closed after this long; one with calls is asked whether it lives. */
  idleMs: 1_200_000,
  pingMs: 30_000,
  pingTimeoutMs: 30_000,
  /** Longest deadline that a client may ask for. */
  timeoutMs: 86_400_000,
  /** Calls that wait for a guest to be there. */
  waitersPerWorkspace: 64,
  waiters: 512,
  /** Without a VM a call waits this long, since clients call while the workspace is still being made. */
  absentMs: 10_000,
  bootMs: 60_000,
  readyDefaultMs: 60_000,
  readyMostMs: 600_000,
  /** Refusals that are written to the audit log; the rest is counted. A stranger can cause them for ever: 1440 a day are
   * less than half a megabyte of a spool that nobody but its tenant may empty. Who has a token is not a stranger. */
  strangerRefusals: { burst: 30, everyMs: 60_000 },
  tenantRefusals: { burst: 60, everyMs: 1000 },
} as const;
