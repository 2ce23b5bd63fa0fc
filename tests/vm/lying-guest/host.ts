import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { ConnectError } from "@connectrpc/connect";
import { channelFault, connectGuest, type GuestLimits, type GuestSession } from "@exai/machine/guest";
import { attacks, type Call } from "./attacks.ts";

// The host's side under attack, alone in a process so that its memory and its event loop can be measured.
// Run as `host.ts LIAR-SOCKET NEIGHBOUR-SOCKET ATTACK`; prints one line of JSON.

export interface Outcome {
  /** Every failure seen, as `fault or -/gRPC code`. */
  faults: string[];
  longestCallMs: number;
  calls: number;
  memoryMib: number;
  blockedMs: number;
  baseP99Ms: number;
  duringP99Ms: number;
}

const limits: Partial<GuestLimits> = {
  helloTimeoutMs: 800,
  unaryTimeoutMs: 800,
  headersTimeoutMs: 800,
  stallTimeoutMs: 800,
  pingIntervalMs: 250,
  pingTimeoutMs: 400,
  goawayGraceMs: 200,
};
/** Where an honest answer has no end, the caller leaves. */
const patienceMs = 1000;
const phaseMs = 1200;

const [, , liar = "", neighbourPath = "", name = ""] = process.argv;
const attack = attacks[name];
if (attack === undefined) throw new Error(`no attack '${name}'`);
const path = Buffer.from("/x");

const calls: Record<Call, (session: GuestSession, signal: AbortSignal) => Promise<void>> = {
  hello: async () => undefined,
  unary: async (session, signal) => {
    await session.files.stat({ path }, { signal });
  },
  read: async (session, signal) => {
    for await (const _ of session.files.read({ path }, { signal }));
  },
  "read-slowly": async (session, signal) => {
    for await (const _ of session.files.read({ path }, { signal })) await delay(100);
  },
  list: async (session, signal) => {
    await session.processes.list({}, { signal });
  },
  upload: async (session, signal) => {
    async function* frames() {
      yield { frame: { case: "open" as const, value: { path } } };
      for (;;) yield { frame: { case: "data" as const, value: new Uint8Array(65_536) } };
    }
    await session.files.write(frames(), { signal });
  },
  hoard: async (session, signal) => {
    // A few at a time: what a hundred new calls cost at once is ours, not the guest's.
    const first: Promise<unknown>[] = [];
    for (let at = 0; at < 120; at++) {
      const next = session.files.read({ path }, { signal })[Symbol.asyncIterator]().next();
      next.catch(() => undefined); // it may fail before the last one has begun, and is looked at below
      first.push(next);
      if (at % 5 === 0) await delay(5);
    }
    await Promise.all(first);
  },
};

async function attacked(outcome: Outcome, call: Call): Promise<void> {
  const startMs = performance.now();
  const leave = new AbortController();
  const timer = setTimeout(() => leave.abort(), patienceMs);
  try {
    using session = await connectGuest(liar, { hostname: "victim", limits });
    await calls[call](session, leave.signal);
    outcome.faults.push("none");
  } catch (error) {
    const code = error instanceof ConnectError ? error.code : "";
    outcome.faults.push(`${channelFault(error)?.code ?? "-"}/${code}`);
    if (!(error instanceof ConnectError) && channelFault(error) === undefined) throw error;
  } finally {
    clearTimeout(timer);
  }
  outcome.calls++;
  outcome.longestCallMs = Math.max(outcome.longestCallMs, performance.now() - startMs);
}

const p99 = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? 0;

using neighbour = await connectGuest(neighbourPath, { hostname: "neighbour" });
let latencies: number[] = [];
let stop = false;
const traffic = Array.from({ length: 4 }, async () => {
  while (!stop) {
    const startMs = performance.now();
    await neighbour.processes.wait({ process: 1n });
    latencies.push(performance.now() - startMs);
  }
});

const outcome: Outcome = {
  faults: [],
  longestCallMs: 0,
  calls: 0,
  memoryMib: 0,
  blockedMs: 0,
  baseP99Ms: 0,
  duringP99Ms: 0,
};
await delay(500); // warm code, so that the first calls do not count
latencies = [];
await delay(phaseMs);
outcome.baseP99Ms = p99(latencies);
globalThis.gc?.();
const baseBytes = process.memoryUsage.rss();
const sampler = setInterval(() => {
  outcome.memoryMib = Math.max(outcome.memoryMib, (process.memoryUsage.rss() - baseBytes) / 2 ** 20);
}, 10);
const loop = monitorEventLoopDelay({ resolution: 1 });
loop.enable();
latencies = [];
const endMs = performance.now() + phaseMs;
do {
  await attacked(outcome, attack.call);
  await delay(50);
} while (performance.now() < endMs);
outcome.blockedMs = loop.max / 1e6;
outcome.duringP99Ms = p99(latencies);
clearInterval(sampler);
stop = true;
await Promise.all(traffic);
outcome.faults = [...new Set(outcome.faults)];
process.stdout.write(`${JSON.stringify(outcome)}\n`);
