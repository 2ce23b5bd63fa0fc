import { Client, type Workspace } from "@exai/sdk";
import type { Bench } from "./context.ts";
import { baseImage } from "./image.ts";
import { median, percentile, result } from "./result.ts";

const times = 100;
/**
 * vfork and execve, as lean as a guest can: Python's posix_spawn, timed by the guest's own clock. In the environment that exec
 * gives, since a program with a locale has more to do.
 */
const inside = `
import os, time
taken = []
for _ in range(${times}):
    start = time.perf_counter_ns()
    os.waitpid(os.posix_spawn("/usr/bin/true", ["true"], os.environ), 0)
    taken.append((time.perf_counter_ns() - start) / 1e6)
print(sorted(taken)[len(taken) // 2])
`;

/** What our path adds to a program's start and end: client, token, event, channel, guest, and back. */
export const exec: Bench = async ({ stack, rounds, signal, say }) => {
  await using client = await Client.open({ home: stack.home });
  const workspace = await client.workspaces.create({ image: await baseImage(client) });
  for (let n = 0; n < 20; n++) await one(workspace);
  const overheads: number[] = [];
  const references: number[] = [];
  for (let round = 0; round < rounds && !signal.aborted; round++) {
    const reference = Number((await workspace.run(["python3", "-c", inside])).stdout.toString());
    const taken: number[] = [];
    for (let n = 0; n < times && !signal.aborted; n++) taken.push(await one(workspace));
    references.push(reference);
    overheads.push(median(taken) - reference);
    const [p50, p99] = [median(taken).toFixed(2), percentile(taken, 99).toFixed(2)];
    say(`round ${round + 1}: exec p50 ${p50} ms, p99 ${p99} ms; inside ${reference.toFixed(2)} ms`);
  }
  const reference = median(references);
  return [result("exec-overhead-ms", overheads, { reference, ratio: (median(overheads) + reference) / reference })];
};

async function one(workspace: Workspace): Promise<number> {
  const from = performance.now();
  await using execution = await workspace.exec(["true"], { onOutput: () => undefined });
  const { code } = await execution.wait();
  if (code !== 0) throw new Error(`true ended with ${code}`);
  return performance.now() - from;
}
