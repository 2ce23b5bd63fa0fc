import { spawnSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "@exai/sdk";
import { baseImage } from "../bench/image.ts";
import { median, type Result, result } from "../bench/result.ts";
import { childrenCpuMs } from "./cpu-time.ts";
import { NullStack } from "./null-stack.ts";
import { buildNullVmm } from "./null-vmm.ts";

const row = 50;
/** What follows an answer – the last report, the end of a keeper – is over by then. */
const settleMs = 300;
/** So long nothing is asked before one alone. */
const pauseMs = 1000;
const starts = 5;

export interface HostCpuOptions {
  readonly rounds: number;
  readonly signal: AbortSignal;
  say(line: string): void;
}

/**
 * What creating and destroying a workspace costs the host's own processes. A workspace is destroyed once it is reported to run,
 * by a client outside of what is counted, which speaks to the control plane only. The very first one is left out: it reads and
 * hashes the image, once for as long as the broker lives.
 */
export async function hostCpu({ rounds, signal, say }: HostCpuOptions): Promise<Result[]> {
  await using stack = await NullStack.start(buildNullVmm());
  await using client = await Client.open({ home: stack.home });
  const image = await baseImage(client);
  const cycle = async (): Promise<void> => {
    signal.throwIfAborted();
    const workspace = await client.workspaces.create({ image, memoryMib: 128, diskMib: 256 });
    await workspace.until((phase) => phase === "running", { signal });
    await workspace.destroy({ signal });
  };
  /** For each of `count`. */
  const cost = async (count: number): Promise<number> => {
    const fromMs = stack.cpuMs();
    for (let at = 0; at < count; at++) await cycle();
    await delay(settleMs, undefined, { signal });
    return (stack.cpuMs() - fromMs) / count;
  };
  await cycle();
  const alone: number[] = [];
  const references: number[] = [];
  const inRow: number[] = [];
  for (let round = 0; round < rounds; round++) {
    references.push(nodeStartMs());
    await delay(pauseMs, undefined, { signal });
    alone.push(await cost(1));
    await delay(pauseMs, undefined, { signal });
    inRow.push(await cost(row));
    const start = `a start of Node ${references.at(-1)?.toFixed(0)} ms`;
    say(
      `round ${round + 1}: alone ${alone.at(-1)?.toFixed(1)} ms, each of ${row} ${inRow.at(-1)?.toFixed(1)} ms; ${start}`,
    );
  }
  say(`of that the double's own, and its keeper's: ${stack.vmCpuMs(rounds * (row + 1) + 1).toFixed(1)} ms each`);
  const reference = median(references);
  const against = (all: readonly number[]) => ({ reference, ratio: median(all) / reference });
  return [result("host-cpu-ms-1", alone, against(alone)), result("host-cpu-ms-50", inRow, against(inRow))];
}

/** CPU time of a Node that starts and ends: what this machine's milliseconds are worth right now. */
function nodeStartMs(): number {
  const fromMs = childrenCpuMs();
  for (let at = 0; at < starts; at++) spawnSync(process.execPath, ["--eval", "0"]);
  return (childrenCpuMs() - fromMs) / starts;
}
