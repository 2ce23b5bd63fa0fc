import { Client } from "@exai/sdk";
import { BareQemu } from "./bare-qemu.ts";
import type { Bench } from "./context.ts";
import { median, result } from "./result.ts";

const image = "base";
/** The default of `exai run`. */
const memoryMib = 512;

/** A whole `exai run -- true`, alternating with the reference so that a noisy minute meets both. */
export const runCold: Bench = async ({ stack, rounds, signal, say }) => {
  const store = await imageStore(stack.home);
  const qemu = await BareQemu.prepare(stack, store, image, memoryMib);
  const run = async () => (await stack.must(["run", "--image", image, "--", "true"])).ms;
  await run(); // files into the page cache, digests checked once
  await qemu.run();
  const ours: number[] = [];
  const bare: number[] = [];
  for (let round = 0; round < rounds && !signal.aborted; round++) {
    bare.push(await qemu.run());
    ours.push(await run());
    say(`round ${round + 1}: exai run ${ours.at(-1)?.toFixed(0)} ms, bare QEMU ${bare.at(-1)?.toFixed(0)} ms`);
  }
  const ratios = ours.map((ms, at) => ms / (bare[at] ?? Number.NaN));
  const reference = median(bare) / 1000;
  const ratio = median(ratios);
  return [
    result("run-cold-ratio", ratios, { reference, ratio }),
    result(
      "run-cold-s",
      ours.map((ms) => ms / 1000),
      { reference, ratio },
    ),
  ];
};

async function imageStore(home: string): Promise<string> {
  await using client = await Client.open({ home });
  return client.loaded.profile.imageStore;
}
