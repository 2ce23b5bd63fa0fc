import { once } from "node:events";
import type { Observation, PollResponse } from "@exai/api";
import { createLogger, newHostId, newWorkspaceId, systemClock } from "@exai/base";
import { expect, test } from "vitest";
import { PollLoop } from "./poll-loop.ts";

function start(poll: (waitMs: number, signal: AbortSignal) => Promise<PollResponse>) {
  const stop = new AbortController();
  const reported: Observation[][] = [];
  let applied = 0;
  const loop = new PollLoop({
    host: newHostId(),
    poll: (body, signal) => {
      if (body.observations.length > 0) reported.push(body.observations);
      return poll(body.waitMs, signal);
    },
    apply: async () => {
      applied++;
    },
    endpoints: () => [],
    clock: systemClock,
    logger: createLogger({ process: "test", write: () => undefined }),
    signal: stop.signal,
  });
  return { stop, ended: loop.run(), applied: () => applied, loop, reported };
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

test("word of a phase that passes waits for the next one; of one that lasts it is told at once, with all the rest", async () => {
  const t = start(async (waitMs, signal) => {
    if (waitMs > 0) await once(signal, "abort");
    return { version: 1 };
  });
  const [one, other] = [newWorkspaceId(), newWorkspaceId()];
  const said = (workspace: typeof one, phase: Observation["phase"]): Observation => ({
    workspace,
    phase,
    vmm: "qemu",
    accelerator: "tcg",
    serial: 1,
    notEnforced: [],
  });
  for (const phase of ["created", "booting"] as const) t.loop.tell(said(one, phase));
  t.loop.tell(said(other, "booting"));
  await systemClock.sleep(20);
  expect(t.reported).toEqual([]);
  t.loop.tell(said(one, "running"));
  await systemClock.sleep(20);
  expect(t.reported).toEqual([[said(one, "running"), said(other, "booting")]]);
  t.loop.tell(said(one, "destroying"));
  await systemClock.sleep(200);
  expect(t.reported.slice(1)).toEqual([[said(one, "destroying")]]);
  t.stop.abort();
  await t.ended;
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
