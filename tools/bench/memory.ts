import { setTimeout as delay } from "node:timers/promises";
import { Client } from "@exai/sdk";
import type { TestStack } from "../../tests/support/stack.ts";
import type { Bench } from "./context.ts";
import { baseImage } from "./image.ts";
import { pssMib, stackProcesses, vmsPssMib } from "./pss.ts";
import { result } from "./result.ts";

const memoryMib = 128;
/** After this long nothing of a start is going on any more. */
export const settleMs = 3000;

/** The stack alone, then with its first VM, each time after an exec was answered. */
export const memory: Bench = async ({ stack, rounds, signal, say }) => {
  await delay(settleMs, undefined, { signal });
  const idle: number[] = [];
  for (let round = 0; round < rounds; round++) idle.push(await wholeStack(stack));
  say(`idle: ${(await each(stack)).map(([name, mib]) => `${name} ${mib.toFixed(0)}`).join(", ")} MiB`);
  const first: number[] = [];
  await using client = await Client.open({ home: stack.home });
  const image = await baseImage(client);
  for (let round = 0; round < Math.min(rounds, 3) && !signal.aborted; round++) {
    const workspace = await client.workspaces.create({ image, memoryMib, diskMib: 256 });
    await workspace.run(["true"]);
    await delay(settleMs, undefined, { signal });
    const channel = (await each(stack))
      .filter(([name]) => name.startsWith("channel"))
      .reduce((sum, [, mib]) => sum + mib, 0);
    const vm = vmsPssMib(stack.home, memoryMib);
    first.push(channel + vm);
    say(`first VM, round ${round + 1}: channel ${channel.toFixed(0)} MiB, launcher and VMM ${vm.toFixed(0)} MiB`);
    await workspace.destroy();
  }
  return [result("idle-stack-mib", idle), result("first-vm-mib", first)];
};

const each = async (stack: TestStack): Promise<[string, number][]> =>
  (await stackProcesses(stack)).map(({ name, pid }) => [name, pssMib(pid)]);

export const wholeStack = async (stack: TestStack): Promise<number> =>
  (await each(stack)).reduce((sum, [, mib]) => sum + mib, 0);
