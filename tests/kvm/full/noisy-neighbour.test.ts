// nested-host: cpus=3
// nested-host: always
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { GuestSession } from "@exai/machine";
import { describe, expect, it } from "vitest";
import { sh } from "../../../packages/machine/src/contract/guest.ts";
import { cgroupRoot, lookAt, threadsOf } from "../cores.ts";
import { firecrackerDriver } from "../machine-kvm.ts";
import { keptFolder } from "../where.ts";

/**
 * What a guest gets done while others compute: processes of the host that never wait. Alone and with neighbours in turns, so
 * that what else this machine does meanwhile meets all alike; the median of the rounds counts.
 *
 * Three processors, of which two are ever busy, since there are two real cores below: everybody's (0) and the guest's (2).
 * The control has the same two, without the floor.
 */
const neighbours = [0, 1, 4];
const rounds = 5;
const roundMs = 4_000;
const size = { cpus: 1, memoryMib: 128, diskMib: 64 };

type Rates = Record<number, number[]>;

describe("a microVM's throughput beside CPU-bound neighbours", () => {
  it("stays at 95 % of what it is alone, with the floor", async () => {
    await using driver = await firecrackerDriver();
    const vm = await driver.launch(size);
    expect(threadsOf(lookAt(driver, vm).pid)["fc_vcpu 0"]?.cpus).toBe("2");
    using guest = await vm.dial();
    const { ratios } = keep("floor", await measure(guest, [], neighbours));
    for (const each of Object.values(ratios)) expect(each).toBeGreaterThanOrEqual(0.95);
  });

  it("falls by 30 % and more without it", async () => {
    await using others = group("exai-neighbours", "0-2");
    // A set of somebody else's that overlaps: the host can't hold a core, and says so.
    await using driver = await firecrackerDriver();
    expect(driver.host.agent().floor()).toMatchObject({ enforced: false });
    const vm = await driver.launch(size);
    const { stack, pid } = lookAt(driver, vm);
    for (const folder of [stack, others.folder]) writeFileSync(join(folder, "cpuset.cpus"), "0,2");
    expect(threadsOf(pid)["fc_vcpu 0"]?.cpus).toBe("0,2");
    using guest = await vm.dial();
    const { ratios } = keep(
      "control",
      await measure(guest, ["sh", "-c", `echo 0 > ${others.folder}/cgroup.procs; exec "$@"`, "sh"], [0, 4]),
    );
    expect(ratios[4]).toBeLessThanOrEqual(0.7);
  });
});

async function measure(guest: GuestSession, prefix: readonly string[], counts: readonly number[]): Promise<Rates> {
  const rates: Rates = {};
  await rate(guest); // what is translated and cached the first time
  for (let round = 0; round < rounds; round++) {
    for (const count of counts) {
      await using _busy = busy(count, prefix);
      rates[count] = [...(rates[count] ?? []), await rate(guest)];
    }
  }
  return rates;
}

/** Turns of a loop in a second, by the guest's clock, which is the host's counter. */
async function rate(guest: GuestSession): Promise<number> {
  const script = `
    now() { read up _ < /proc/uptime; t=\${up%.*}\${up#*.}; }
    turns=0; now; from=$t; until=$((from + ${roundMs / 10}))
    while [ $t -lt $until ]; do i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; turns=$((turns+500)); now; done
    echo $turns $((t - from))`;
  const { stdout } = await sh(guest, script);
  const [turns = 0, hundredths = 1] = stdout.trim().split(" ").map(Number);
  return (turns * 100) / hundredths;
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

function keep(name: string, rates: Rates) {
  const medians = Object.fromEntries(Object.entries(rates).map(([count, all]) => [count, median(all)]));
  const ratios = Object.fromEntries(Object.entries(medians).map(([count, each]) => [count, each / (medians[0] ?? 0)]));
  writeFileSync(join(keptFolder(), `${name}.json`), `${JSON.stringify({ rates, medians, ratios }, null, 2)}\n`);
  return { ratios };
}

const median = (all: readonly number[]): number => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0;

function group(name: string, cpus: string): AsyncDisposable & { folder: string } {
  const folder = join(cgroupRoot, name);
  mkdirSync(folder);
  writeFileSync(join(folder, "cpuset.cpus"), cpus);
  return { folder, [Symbol.asyncDispose]: async () => rmdirSync(folder) };
}
