import { once } from "node:events";
import type { PollResponse } from "@exai/api";
import { createLogger, newHostId, systemClock } from "@exai/base";
import { expect, test } from "vitest";
import { PollLoop } from "./poll-loop.ts";

function start(poll: (waitMs: number, signal: AbortSignal) => Promise<PollResponse>) {
  const stop = new AbortController();
  let applied = 0;
  const loop = new PollLoop({
    host: newHostId(),
    poll: (body, signal) => poll(body.waitMs, signal),
    apply: async () => {
      applied++;
    },
    endpoints: () => [],
    clock: systemClock,
    logger: createLogger({ process: "test", write: () => undefined }),
    signal: stop.signal,
  });
  return { stop, ended: loop.run(), applied: () => applied };
}
const answer: PollResponse = { version: 1, desired: [] };

test("a control plane that always has news is heard a hundred times a second at most", async () => {
  const t = start(async () => answer);
  await systemClock.sleep(500);
  t.stop.abort();
  await t.ended;
  expect(t.applied()).toBeGreaterThan(5);
  expect(t.applied()).toBeLessThanOrEqual(60);
});

test("ends at once when it is told to, whatever it waits for", async () => {
  for (const poll of [
    async (_: number, signal: AbortSignal) => {
      if (!signal.aborted) await once(signal, "abort");
      throw signal.reason;
    },
    async () => Promise.reject(new Error("away")),
  ]) {
    const t = start(poll);
    await systemClock.sleep(200);
    t.stop.abort();
    const from = performance.now();
    await t.ended;
    expect(performance.now() - from).toBeLessThan(500);
  }
});
