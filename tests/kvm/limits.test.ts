// nested-host: always
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type DeviceReport, type FirecrackerConfig, firecrackerMetrics } from "@exai/api/host";
import type { WorkspaceId } from "@exai/base";
import type { LaunchPlan } from "@exai/machine";
import { sh } from "@exai/machine/contract";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { launchHostile } from "../support/hostile-guest.ts";
import type { MachineDriver } from "../support/machine-driver.ts";
import { cgroupRoot, lookAt } from "./cores.ts";
import { firecrackerDriver, firecrackerHost } from "./machine-kvm.ts";
import { keptFolder } from "./where.ts";

/**
 * Limits of a microVM, measured: of its devices in the guest, with what the host is told when they bite, and its weight
 * beside the host's own processes. What our plan allows a device is more than an emulated host can do, so the same plan is
 * run again with one limit divided.
 */
const size = { cpus: 1, memoryMib: 128, diskMib: 64 };

let driver: MachineDriver;
beforeAll(async () => {
  driver = await firecrackerDriver();
});
afterAll(() => driver?.[Symbol.asyncDispose]());

type Limited = FirecrackerConfig["entropy"];
type Bucket = keyof Limited["rate_limiter"];

/** The driver's plan with the limits of one kind, of one device's, divided. */
function divided(what: "overlay" | "entropy", kind: Bucket, by: number): LaunchPlan {
  const plan = driver.plan(size);
  const config = JSON.parse(plan.config ?? "") as FirecrackerConfig;
  const device: Limited | undefined =
    what === "entropy" ? config.entropy : config.drives.find((drive) => drive.drive_id === what);
  const bucket = device?.rate_limiter[kind];
  if (bucket === undefined) throw new Error(`the plan has no limit of ${kind} for ${what}`);
  bucket.size = Math.round(bucket.size / by);
  if (bucket.one_time_burst !== undefined) bucket.one_time_burst = Math.round(bucket.one_time_burst / by);
  return { ...plan, config: JSON.stringify(config) };
}

/** Runs one command in a new guest. @returns seconds that it took, by the guest's clock, and what its VMM says then */
async function timed(
  script: string,
  plan?: LaunchPlan,
): Promise<{ seconds: number; report: DeviceReport | undefined }> {
  const vm = await driver.launch(size, plan);
  using guest = await vm.dial();
  vm.machine.ready();
  const { exited, stderr } = await sh(guest, script);
  expect([exited?.code, stderr]).toEqual([0, ""]);
  const report = await flushed(driver, vm);
  await vm.machine.destroy();
  return { seconds: Number(exited?.wallUs ?? 0n) / 1e6, report };
}

/** Has Firecracker write down what it counted, as it does each minute by itself. */
async function flushed(of: MachineDriver, vm: { workspace: WorkspaceId; monitorSocket: string }) {
  await new Promise<void>((resolve, reject) => {
    const flush = request({ socketPath: vm.monitorSocket, method: "PUT", path: "/actions" }, (answer) => {
      const { statusCode } = answer.resume();
      answer.once("end", () => (statusCode === 204 ? resolve() : reject(new Error(`FlushMetrics: ${statusCode}`))));
    });
    flush.once("error", reject).end(JSON.stringify({ action_type: "FlushMetrics" }));
  });
  return reportOf(of, vm.workspace);
}

/** What the node agent says of it. The launcher takes a moment to write down what the VMM has written. */
async function reportOf({ host }: MachineDriver, workspace: WorkspaceId): Promise<DeviceReport | undefined> {
  await sleep(500);
  const [tenant] = host.tenants;
  const { reports } = await host.agent().handlers(tenant).devices({}, new AbortController().signal);
  return reports.find((each) => each.workspace === workspace);
}

describe("a rate limiter", () => {
  it("holds a disk's bandwidth, and the host is told", async () => {
    const write = "dd if=/dev/zero of=/root/file bs=256K count=32 oflag=direct status=none";
    const free = await timed(write);
    // 1 MiB a second, and 3 MiB at the start: 5 of the 8 MiB take 5 s.
    const held = await timed(write, divided("overlay", "bandwidth", 512));
    console.log(`8 MiB in ${free.seconds} s, held in ${held.seconds} s`);
    expect(held.seconds).toBeGreaterThan(4);
    expect(held.seconds).toBeGreaterThan(2 * free.seconds);
    expect(free.report?.throttled.disk ?? 0).toBe(0);
    expect(held.report?.throttled.disk).toBeGreaterThan(0);
  });

  it("holds the number of a disk's requests", async () => {
    const write = "dd if=/dev/zero of=/root/file bs=4K count=320 oflag=direct status=none";
    const free = await timed(write);
    // 40 a second, and 120 at the start: 200 of the 320 take 5 s.
    const held = await timed(write, divided("overlay", "ops", 500));
    console.log(`320 writes in ${free.seconds} s, held in ${held.seconds} s`);
    expect(held.seconds).toBeGreaterThan(4);
    expect(held.seconds).toBeGreaterThan(2 * free.seconds);
    expect(held.report?.throttled.disk).toBeGreaterThan(0);
  });

  it("holds the host's entropy", async () => {
    const read = "dd if=/dev/hwrng of=/dev/null bs=1K count=24 iflag=fullblock status=none";
    const free = await timed(read);
    // 4 KiB a second, and as much at the start: 20 of the 24 KiB take 5 s.
    const held = await timed(read, divided("entropy", "bandwidth", 16));
    console.log(`24 KiB in ${free.seconds} s, held in ${held.seconds} s`);
    expect(held.seconds).toBeGreaterThan(4);
    expect(held.seconds).toBeGreaterThan(2 * free.seconds);
    expect(held.report?.throttled.entropy).toBeGreaterThan(0);
  });
});

describe("what a VMM says of its devices", () => {
  it("has every count that is read, under the name that is read", async () => {
    const vm = await driver.launch(size);
    using _guest = await vm.dial(); // by then there is an API, too
    await flushed(driver, vm);
    const [line = ""] = readFileSync(join(vm.folder, "metrics.json"), "utf8").split("\n");
    const said = JSON.parse(line) as Record<string, Record<string, unknown>>;
    // What is missing counts as 0 and would never be missed.
    const names = (of: object): string[] => Object.keys(of).sort();
    for (const [group, counts] of Object.entries(firecrackerMetrics.parse({ utc_timestamp_ms: 0 }))) {
      if (typeof counts === "number") expect(said[group]).toBeTypeOf("number");
      else expect(names(said[group] ?? {})).toEqual(expect.arrayContaining(names(counts)));
    }
    await vm.machine.destroy();
  });

  it("tells of a guest whose requests make no sense", async () => {
    const host = await firecrackerHost();
    await using own = host.driver;
    // The first disk at once: another device's lies may end the VMM.
    const vm = await launchHostile(host, "hostile=requests seed=1 rounds=200 from=1");
    // A VMM that ends writes down what it counted.
    const exit = await vm.machine.awaitExit(60_000);
    const report = exit === undefined ? await flushed(own, vm) : await reportOf(own, vm.workspace);
    console.log(JSON.stringify({ exit, report }));
    for (const name of ["metrics.json", "firecracker.log"])
      copyFileSync(join(vm.folder, name), join(keptFolder(), name));
    expect(report?.failed.disk).toBeGreaterThan(0);
    expect(report?.filtered).toBe(0);
    await vm.machine.destroy();
  });
});

describe("the weight of all guests together", () => {
  it("leaves a process of the host's five sixths of a CPU that both want", async () => {
    const vm = await driver.launch(size);
    using guest = await vm.dial();
    vm.machine.ready();
    const { stack } = lookAt(driver, vm);
    const spinning = sh(guest, "while :; do :; done").catch(() => undefined); // until it is killed
    const ours = await shareBeside(stack);
    writeFileSync(join(stack, "cpu.weight"), "100");
    const control = await shareBeside(stack);
    console.log(`a process beside a guest has ${ours} of the CPU, ${control} with equal weights`);
    expect(ours).toBeGreaterThan(0.75);
    expect(control).toBeLessThan(0.6);
    await vm.machine.destroy();
    await spinning;
  });
});

/** What a process in a group of its own, of the kernel's weight, gets of the CPU time that it and a stack take together. */
async function shareBeside(stack: string): Promise<number> {
  const folder = join(cgroupRoot, "exai-test-weight");
  mkdirSync(folder);
  const busy = spawn("sh", ["-c", `echo 0 > ${folder}/cgroup.procs; while :; do :; done`], { stdio: "ignore" });
  const gone = once(busy, "exit");
  try {
    const before = usedUs(stack);
    for (const [group, from] of [
      [folder, 0],
      [stack, before],
    ] as const) {
      await expect.poll(() => usedUs(group), { timeout: 20_000 }).toBeGreaterThan(from + 300_000);
    }
    const [mine, theirs] = [usedUs(folder), usedUs(stack)];
    await sleep(5_000);
    const [mineNow, theirsNow] = [usedUs(folder) - mine, usedUs(stack) - theirs];
    return mineNow / (mineNow + theirsNow);
  } finally {
    busy.kill("SIGKILL");
    await gone;
    rmdirSync(folder);
  }
}

const usedUs = (group: string): number =>
  Number(/^usage_usec (\d+)$/m.exec(readFileSync(join(group, "cpu.stat"), "utf8"))?.[1]);
