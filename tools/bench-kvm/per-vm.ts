import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { firecrackerDriver } from "../../tests/kvm/machine-kvm.ts";
import { pssMib, vmmPssMib } from "../bench/pss.ts";
import { type Result, result } from "../bench/result.ts";
import { runTrue } from "./cold.ts";
import type { InsideOptions } from "./inside.ts";

const memoryMib = 128;
const atOnce = 4;
const settleMs = 1000;

/**
 * Each round boots some VMs, keeps their sessions open, and adds up what the host holds for them beyond the guests' memory: VMM and
 * keeper (PSS), what the kernel keeps for their control groups, and the growth of this process, which is node agent and channel
 * in one here.
 */
export async function perVm({ rounds, say }: InsideOptions): Promise<Result[]> {
  await using driver = await firecrackerDriver();
  const one = async (held: AsyncDisposableStack): Promise<() => number[]> => {
    const vm = await driver.launch({ cpus: 1, memoryMib, diskMib: 64 });
    held.use(vm.machine);
    const guest = held.use(await vm.dial());
    await runTrue(guest);
    const [line = ""] = readFileSync(join(vm.folder, "status.json"), "utf8").split("\n");
    const { pid, launcherPid } = JSON.parse(line).started as { pid: number; launcherPid: number };
    return () => [vmmPssMib(pid, memoryMib), pssMib(launcherPid), kernelMib(pid)];
  };
  const each: number[] = [];
  for (let round = -1; round < rounds; round++) {
    await delay(settleMs);
    const beforeMib = pssMib(process.pid);
    await using held = new AsyncDisposableStack();
    const measures: (() => number[])[] = [];
    for (let at = 0; at < atOnce; at++) measures.push(await one(held));
    await delay(settleMs);
    const parts = measures.map((measure) => measure());
    const mean = [0, 1, 2].map((part) => parts.reduce((sum, all) => sum + (all[part] ?? Number.NaN), 0) / atOnce);
    const grown = Math.max(0, pssMib(process.pid) - beforeMib) / atOnce;
    const total = [...mean, grown].reduce((sum, mib) => sum + mib, 0);
    const said = [...mean, grown].map((mib) => mib.toFixed(1)).join(" + ");
    say(`${round < 0 ? "warm-up" : `round ${round + 1}`}: ${total.toFixed(1)} MiB = VMM, keeper, kernel, ours ${said}`);
    if (round >= 0) each.push(total);
  }
  return [result("kvm-per-vm-mib", each)];
}

/** What the kernel holds for a VM's control group: page tables, KVM's shadows of the guest's, sockets. */
function kernelMib(pid: number): number {
  const cgroup = readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().replace(/^0::/, "");
  const bytes = /^kernel (\d+)$/m.exec(readFileSync(join("/sys/fs/cgroup", cgroup, "memory.stat"), "utf8"))?.[1];
  if (bytes === undefined) throw new Error("the kernel does not say what it holds for a control group");
  return Number(bytes) / 2 ** 20;
}
