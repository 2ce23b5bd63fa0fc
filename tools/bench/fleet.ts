import { setTimeout as delay } from "node:timers/promises";
import { Client, type Workspace } from "@exai/sdk";
import { leftoversOf, tracesOf } from "../../tests/support/leftovers.ts";
import type { Bench } from "./context.ts";
import { baseImage } from "./image.ts";
import { settleMs, wholeStack } from "./memory.ts";
import { vmsPssMib } from "./pss.ts";
import { result } from "./result.ts";

const memoryMib = 128;
/** `per-vm-mib` is the mean over this many. */
const counted = 40;
/** Boots at the same time; emulated ones want a core each. */
const atOnce = 4;

/** Many idle VMs: how many answer, what each costs, and that nothing is left of them. */
export const fleet: Bench = async ({ stack, maxVms, signal, say }) => {
  await delay(settleMs, undefined, { signal });
  const traces = tracesOf(stack.home);
  const before = leftoversOf(traces);
  const idle = await wholeStack(stack);
  await using client = await Client.open({ home: stack.home });
  const image = await baseImage(client);
  const workspaces: Workspace[] = [];
  let perVm: number | undefined;
  let refusal = "";
  try {
    for (const upTo of [Math.min(counted, maxVms), maxVms]) {
      refusal ||= await grow(client, image, workspaces, upTo, signal);
      if (perVm === undefined) {
        await delay(settleMs, undefined, { signal });
        perVm = (await wholeStack(stack)) - idle + vmsPssMib(stack.home, memoryMib);
        perVm /= workspaces.length;
        say(`${workspaces.length} VMs: ${perVm.toFixed(1)} MiB each`);
      }
    }
    const answered = await inParallel(workspaces, async (each) => (await each.run(["true"])).code === 0);
    const alive = answered.filter(Boolean).length;
    say(`${alive} of ${workspaces.length} answered${refusal === "" ? "" : `; then: ${refusal}`}`);
    await inParallel(workspaces, (each) => each.destroy());
    // The folder of all its control groups is the stack's own and goes with it; nothing may be in it.
    const own = `/exai-${traces.stack}`;
    const left = leftoversOf(traces).filter((each) => !before.includes(each) && !each.endsWith(own));
    for (const each of left) say(`left over: ${each}`);
    return [result("per-vm-mib", [perVm ?? Number.NaN]), result("vms-at-once", [left.length === 0 ? alive : 0])];
  } finally {
    if (signal.aborted) say("interrupted: the stack removes its VMs");
  }
};

/** @returns why no more could be had, or "" */
async function grow(
  client: Client,
  image: string,
  workspaces: Workspace[],
  upTo: number,
  signal: AbortSignal,
): Promise<string> {
  const missing = Array.from({ length: upTo - workspaces.length });
  const refusals = await inParallel(missing, async () => {
    if (signal.aborted) return "interrupted";
    try {
      const workspace = await client.workspaces.create({ image, memoryMib, diskMib: 256 });
      await workspace.run(["true"], { signal });
      workspaces.push(workspace);
      return "";
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  });
  return refusals.find((each) => each !== "") ?? "";
}

async function inParallel<T, R>(all: readonly T[], step: (each: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = [...all.entries()];
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) results[next[0]] = await step(next[1]);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return results;
}
