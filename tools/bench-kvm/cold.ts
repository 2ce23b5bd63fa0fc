import type { GuestSession } from "@exai/machine";
import { planFirecracker } from "@exai/machine";
import { firecrackerDriver } from "../../tests/kvm/machine-kvm.ts";
import { bootFiles, imageStore } from "../../tests/kvm/where.ts";
import { type Result, ratioResult } from "../bench/result.ts";
import { firecrackerFolder } from "../nested-host/firecracker.ts";
import { BareHost, bootByCalls } from "./bare.ts";
import type { InsideOptions } from "./inside.ts";

const size = { cpus: 1, memoryMib: 128 } as const;
const diskMib = 64;

/** From the wish for a machine to the end of its first program, in turns with bare Firecracker up to its agent's hello. */
export async function cold({ rounds, say }: InsideOptions): Promise<Result[]> {
  await using driver = await firecrackerDriver();
  const image = bootFiles("base");
  await using bare = new BareHost({ imageStore, firecracker: `${firecrackerFolder()}/firecracker` });
  const plan = planFirecracker(image, size);

  const reference = async (): Promise<number> => {
    const vm = await bare.start(plan, diskMib);
    try {
      await bootByCalls(vm.api, plan.config ?? "");
      using _guest = await vm.dial();
      return performance.now() - vm.startedMs;
    } finally {
      await vm.remove();
    }
  };
  const ours = async (): Promise<number[]> => {
    const fromMs = performance.now();
    const vm = await driver.launch({ ...size, diskMib });
    await using _machine = vm.machine;
    const launchedMs = performance.now();
    using guest = await vm.dial();
    const helloMs = performance.now();
    await runTrue(guest);
    const endMs = performance.now();
    return [endMs - fromMs, launchedMs - fromMs, helloMs - launchedMs, endMs - helloMs];
  };
  const all: number[] = [];
  const references: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const referenceMs = await reference();
    const [totalMs = Number.NaN, ...steps] = await ours();
    const parts = steps.map((ms) => ms.toFixed(0)).join(" + ");
    const which = round < 0 ? "warm-up" : `round ${round + 1}`;
    say(`${which}: bare ${referenceMs.toFixed(0)} ms; ours ${totalMs.toFixed(0)} ms = launch, hello, exec ${parts}`);
    if (round < 0) continue; // the first compiles what both run
    all.push(totalMs);
    references.push(referenceMs);
  }
  const left = [...(await driver.leftovers()), ...bare.leftovers()];
  if (left.length > 0) throw new Error(`left over: ${left.join(", ")}`);
  return [ratioResult("kvm-cold-ratio", all, references)];
}

export async function runTrue(guest: GuestSession): Promise<void> {
  for await (const { event } of guest.processes.run({ argv: [Buffer.from("/usr/bin/true")], user: "root" }))
    if (event.case === "exited" && event.value.code === 0) return;
  throw new Error("true did not end well");
}
