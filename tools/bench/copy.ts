import { randomFillSync } from "node:crypto";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, type Workspace } from "@exai/sdk";
import type { Bench } from "./context.ts";
import { baseImage } from "./image.ts";
import { farEnd, PortStream, ports } from "./port-stream.ts";
import { median, result } from "./result.ts";

const bytes = 64 << 20;

/** A file up and down, alternating with the bare stream of as many bytes in the same direction. */
export const copy: Bench = async ({ stack, rounds, signal, say }) => {
  const folder = mkdtempSync(join(tmpdir(), "exai-bench-"));
  try {
    await using client = await Client.open({ home: stack.home });
    const workspace = await client.workspaces.create({ image: await baseImage(client) });
    await using _farEnd = await listening(workspace);
    using stream = new PortStream(client, await workspace.refresh());
    const local = join(folder, "up");
    writeFileSync(local, randomFillSync(Buffer.alloc(bytes)));
    const back = join(folder, "down");
    const steps = {
      up: () => workspace.files.upload(local, "/home/user/copied"),
      upReference: () => stream.up(ports.discard, bytes),
      down: () => workspace.files.download("/home/user/copied", back),
      downReference: () => stream.down(ports.make, bytes),
    };
    const rates = {
      up: [] as number[],
      upReference: [] as number[],
      down: [] as number[],
      downReference: [] as number[],
    };
    for (let round = -1; round < rounds && !signal.aborted; round++) {
      for (const name of ["upReference", "up", "downReference", "down"] as const) {
        const rate = await timed(steps[name]);
        if (round >= 0) rates[name].push(rate); // the first round warms up
      }
      if (statSync(back).size !== bytes) throw new Error("the copy has another size");
      if (round >= 0) say(`round ${round + 1}: ${line(rates)}`);
    }
    return [
      figure("cp-up-ratio", rates.up, rates.upReference),
      figure("cp-down-ratio", rates.down, rates.downReference),
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

/** MiB a second. */
async function timed(step: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await step();
  return bytes / 2 ** 20 / ((performance.now() - from) / 1000);
}

const line = (rates: Record<string, number[]>): string =>
  Object.entries(rates)
    .map(([name, all]) => `${name} ${all.at(-1)?.toFixed(0)} MiB/s`)
    .join(", ");

function figure(id: "cp-up-ratio" | "cp-down-ratio", ours: number[], references: number[]) {
  const ratios = ours.map((rate, at) => rate / (references[at] ?? Number.NaN));
  return result(id, ratios, { reference: median(references), ratio: median(ratios) });
}

async function listening(workspace: Workspace): Promise<AsyncDisposable> {
  const execution = await workspace.exec(["python3", "-c", farEnd(bytes)]);
  execution.ignore("stderr");
  for await (const _ of execution.stdout) break;
  return { [Symbol.asyncDispose]: () => execution.signal("KILL") };
}
