// nested-host: cpus=3
// nested-host: always
// nested-host: alone
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { GuestSession } from "@exai/machine";
import { describe, expect, it } from "vitest";
import { sh } from "../../../packages/machine/src/contract/guest.ts";
import { cgroupRoot, lookAt, threadsOf } from "../cores.ts";
import { firecrackerDriver } from "../machine-kvm.ts";
import { keptFolder } from "../where.ts";

/**
 * What a guest gets done while others compute: processes of the host that never wait. Each of five rounds goes through the
 * numbers of neighbours in turns of half a second, there and back, so that what else this machine does meanwhile meets all
 * alike: by itself it gets faster and slower by a third within seconds. The median of the rounds' ratios counts.
 *
 * The nested host has three processors, but what is below has two: everybody's (0) is busy in each turn, also in those
 * without neighbours, since two busy emulated processors may slow each other down where only one is real. The guest's is 2.
 * The control has the same two, without the floor.
 *
 * Kept beside the throughput is the share of its wish for processor time that the virtual CPU got, as the nested kernel
 * counts it: what the floor is about, without what happens below.
 */
const rounds = 5;
const turns = 12;
const turnMs = 500;
const size = { cpus: 1, memoryMib: 128, diskMib: 64 };

interface Gained {
  loops: number;
  ms: number;
  ranNs: number;
  waitedNs: number;
}

describe("a microVM's throughput beside CPU-bound neighbours", () => {
  it("stays at 95 % of what it is alone, with the floor", async () => {
    await using driver = await firecrackerDriver();
    const vm = await driver.launch(size);
    using guest = await vm.dial();
    const { pid } = lookAt(driver, vm);
    expect(threadsOf(pid)["fc_vcpu 0"]?.cpus).toBe("2");
    const found = keep("floor", await measure(guest, pid, [], [0, 1, 4]));
    for (const count of [1, 4]) {
      expect(found.share[count]).toBeGreaterThanOrEqual(0.95);
      expect(found.throughput[count]).toBeGreaterThanOrEqual(0.95);
    }
  });

  it("falls by 30 % and more without it", async () => {
    await using others = group("exai-neighbours", "0-2");
    // A set of somebody else's that overlaps: the host can't hold a core, and says so.
    await using driver = await firecrackerDriver();
    expect(driver.host.agent().floor()).toMatchObject({ enforced: false });
    const vm = await driver.launch(size);
    using guest = await vm.dial();
    const { stack, pid } = lookAt(driver, vm);
    for (const folder of [stack, others.folder]) writeFileSync(join(folder, "cpuset.cpus"), "0,2");
    expect(threadsOf(pid)["fc_vcpu 0"]?.cpus).toBe("0,2");
    const into = ["sh", "-c", `echo 0 > ${others.folder}/cgroup.procs; exec "$@"`, "sh"];
    const found = keep("control", await measure(guest, pid, into, [0, 4]));
    expect(found.throughput[4]).toBeLessThanOrEqual(0.7);
  });
});

/** @returns for each round what was gained beside each number of neighbours */
async function measure(guest: GuestSession, pid: number, into: readonly string[], counts: readonly number[]) {
  await using _first = busy(1, ["taskset", "-c", "0"]);
  await work(guest); // what is translated and cached the first time
  const all: Record<number, Gained>[] = [];
  for (let round = 0; round < rounds; round++) {
    const gained: Record<number, Gained> = {};
    for (let turn = 0; turn < turns; turn++) {
      for (const count of turn % 2 === 0 ? counts : counts.toReversed()) {
        await using _busy = busy(count, into);
        const sum = gained[count] ?? { loops: 0, ms: 0, ranNs: 0, waitedNs: 0 };
        const [ran, waited] = schedstat(pid);
        const { loops, ms } = await work(guest);
        const [ranThen, waitedThen] = schedstat(pid);
        gained[count] = {
          loops: sum.loops + loops,
          ms: sum.ms + ms,
          ranNs: sum.ranNs + ranThen - ran,
          waitedNs: sum.waitedNs + waitedThen - waited,
        };
      }
    }
    all.push(gained);
  }
  return all;
}

/** Nanoseconds that the virtual CPU's thread ran, and that it waited for a processor (Documentation/scheduler/sched-stats). */
function schedstat(pid: number): [ran: number, waited: number] {
  const of = (thread: string, name: string) => readFileSync(`/proc/${pid}/task/${thread}/${name}`, "utf8").trim();
  const thread = readdirSync(`/proc/${pid}/task`).find((each) => of(each, "comm") === "fc_vcpu 0") ?? "";
  const [ran = 0, waited = 0] = of(thread, "schedstat").split(" ").map(Number);
  return [ran, waited];
}

/** Loops of a shell, by the guest's clock, which is the machine's counter. */
async function work(guest: GuestSession): Promise<{ loops: number; ms: number }> {
  const script = `
    now() { read up _ < /proc/uptime; t=\${up%.*}\${up#*.}; }
    n=0; now; from=$t; until=$((from + ${turnMs / 10}))
    while [ $t -lt $until ]; do i=0; while [ $i -lt 100 ]; do i=$((i+1)); done; n=$((n+100)); now; done
    echo $n $((t - from))`;
  const { stdout } = await sh(guest, script);
  const [loops = 0, hundredths = 0] = stdout.trim().split(" ").map(Number);
  return { loops, ms: hundredths * 10 };
}

function busy(count: number, prefix: readonly string[]): AsyncDisposable {
  const argv = [...prefix, "sh", "-c", "while :; do :; done"] as const;
  const started: ChildProcess[] = Array.from({ length: count }, () =>
    spawn(argv[0] ?? "sh", argv.slice(1), { stdio: "ignore" }),
  );
  return {
    async [Symbol.asyncDispose]() {
      for (const each of started) {
        const gone = once(each, "exit");
        each.kill("SIGKILL");
        await gone;
      }
    },
  };
}

/** Writes down what was gained, and the median over the rounds of what it is beside that of the round's turns alone. */
function keep(name: string, all: readonly Record<number, Gained>[]) {
  const ratios = (of: (gained: Gained) => number) => {
    const perRound = all.map((round) => {
      const alone = round[0] === undefined ? Number.NaN : of(round[0]);
      return Object.entries(round).map(([count, gained]) => [Number(count), of(gained) / alone] as const);
    });
    const byCount = Map.groupBy(perRound.flat(), ([count]) => count);
    return Object.fromEntries([...byCount].map(([count, each]) => [count, median(each.map(([, ratio]) => ratio))]));
  };
  const throughput: Record<number, number> = ratios(({ loops, ms }) => loops / ms);
  const share: Record<number, number> = ratios(({ ranNs, waitedNs }) => ranNs / (ranNs + waitedNs));
  writeFileSync(join(keptFolder(), `${name}.json`), `${JSON.stringify({ throughput, share, rounds: all }, null, 2)}\n`);
  return { throughput, share };
}

const median = (all: readonly number[]): number => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0;

function group(name: string, cpus: string): AsyncDisposable & { folder: string } {
  const folder = join(cgroupRoot, name);
  mkdirSync(folder);
  writeFileSync(join(folder, "cpuset.cpus"), cpus);
  return { folder, [Symbol.asyncDispose]: async () => rmdirSync(folder) };
}
