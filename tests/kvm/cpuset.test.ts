// nested-host: cpus=3
// nested-host: always
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeContract, type VmStatus } from "@exai/api/host";
import { newLifetimeId, newWorkspaceId, type WorkspaceId } from "@exai/base";
import { createIpcClient } from "@exai/ipc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sh } from "../../packages/machine/src/contract/guest.ts";
import type { MachineDriver } from "../support/machine-driver.ts";
import { AgentProcess } from "../vm/agent-process.ts";
import { HostFixture } from "../vm/host-fixture.ts";
import { allowedOn, cgroupRoot, lookAt, readLine, threadsOf } from "./cores.ts";
import { firecrackerDriver, firecrackerPlan, hostileFirecrackerDriver, qemuKvmDriver } from "./machine-kvm.ts";
import { keptFolder } from "./where.ts";

/** On a host with three cores: 0 is everybody's, 1 that of helper threads, 2 the one for a virtual CPU. */
const size = { cpus: 1, memoryMib: 128, diskMib: 64 };
const slow = { timeoutMs: 60_000 };
const never = new AbortController().signal;
const everybody = (): string => readLine(`${cgroupRoot}/cpuset.cpus.effective`);

/** A new agent on the same files, as after a restart. */
const restarted = (driver: MachineDriver) => {
  const agent = driver.host.agent();
  const calls = agent.handlers(driver.host.tenants[0]);
  const status = async (vm: { folder: string }): Promise<VmStatus> =>
    calls.awaitExit({ workspace: basename(vm.folder) as WorkspaceId, timeoutMs: 0 }, never);
  return { agent, calls, status };
};

describe("a microVM with a core for its virtual CPU", () => {
  let driver: MachineDriver;
  let vm: Awaited<ReturnType<MachineDriver["launch"]>>;
  let seen: ReturnType<typeof lookAt>;

  beforeAll(async () => {
    driver = await firecrackerDriver();
    vm = await driver.launch(size);
    seen = lookAt(driver, vm);
    writeFileSync(join(keptFolder(), "threads.json"), `${JSON.stringify(threadsOf(seen.pid), null, 2)}\n`);
  });
  afterAll(() => driver?.[Symbol.asyncDispose]());

  it("has the virtual CPU's thread alone on its core, and all others on the shared one", () => {
    const { "fc_vcpu 0": vcpu, ...others } = threadsOf(seen.pid);
    expect(vcpu).toEqual({ cpus: "2", group: "vcpu0" });
    expect(Object.keys(others)).toEqual(expect.arrayContaining(["firecracker", "fc_api"]));
    for (const each of [...Object.values(others), ...Object.values(threadsOf(seen.launcherPid))])
      expect(each).toEqual({ cpus: "1", group: "shared" });
  });

  it("has it in a partition, which keeps every other process of the host off, whatever that asks for", () => {
    expect(readLine(`${seen.stack}/cpuset.cpus.partition`)).toBe("root");
    expect(readLine(`${seen.stack}/cpuset.cpus.effective`)).toBe("1-2");
    expect(everybody()).toBe("0");
    expect(allowedOn(2)).toEqual([String(seen.pid)]);
    expect(spawnSync("taskset", ["-c", "0", "true"]).status).toBe(0);
    expect(spawnSync("taskset", ["-c", "2", "true"], { encoding: "utf8" })).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("Invalid argument"),
    });
  });

  it("runs, and nothing is said to be missing", async () => {
    using guest = await vm.dial();
    expect((await sh(guest, "nproc")).stdout).toBe("1\n");
    const { agent, status } = restarted(driver);
    expect(await status(vm)).toMatchObject({ state: "running", notEnforced: [] });
    expect(agent.floor()).toMatchObject({ enforced: true, cores: 1, about: expect.stringContaining("SMT off") });
  });

  it("has its limits in cgroup v2", () => {
    const limit = (name: string) => readLine(`${seen.cgroup}/${name}`);
    expect(limit("memory.max")).toBe(String((128 + 128) * 2 ** 20));
    expect(limit("memory.swap.max")).toBe("0");
    expect(limit("cpu.max")).toBe("150000 100000");
    expect(limit("pids.max")).toBe("129");
  });

  it("leaves no core for a second one, which is refused in one sentence", async () => {
    await expect(driver.launch(size)).rejects.toMatchObject({
      cause: { code: "no-core", message: "1 virtual CPU needs a core of its own: 0 of 1 are free on this host" },
    });
    expect(readdirSync(seen.stack).filter((name) => existsSync(join(seen.stack, name, "vcpu0")))).toHaveLength(1);
  });

  it("keeps its core when the agent is started again, and the second one is still refused", async () => {
    const { calls, status } = restarted(driver);
    expect(await status(vm)).toMatchObject({ state: "running", pid: seen.pid, notEnforced: [] });
    expect(threadsOf(seen.pid)["fc_vcpu 0"]).toEqual({ cpus: "2", group: "vcpu0" });
    expect(everybody()).toBe("0");
    const { vms } = await calls.list({}, never);
    const other = vms.find((each) => each.state === "prepared");
    await calls.remove({ workspace: other?.workspace ?? ("" as WorkspaceId) }, never);
  });

  it("says so while its core is offline, and is on it again afterwards", async () => {
    const { status } = restarted(driver);
    const online = "/sys/devices/system/cpu/cpu2/online";
    writeFileSync(online, "0");
    expect(await status(vm)).toMatchObject({ state: "running", notEnforced: ["core floor"] });
    expect(threadsOf(seen.pid)["fc_vcpu 0"]).toEqual({ cpus: "1", group: "vcpu0" });
    writeFileSync(online, "1");
    expect(await status(vm)).toMatchObject({ state: "running", notEnforced: [] });
    expect(threadsOf(seen.pid)["fc_vcpu 0"]).toEqual({ cpus: "2", group: "vcpu0" });
  });

  it("says so when somebody else's set of CPUs breaks the partition", async () => {
    const { agent, status } = restarted(driver);
    await using _other = group("exai-test-other", { "cpuset.cpus": "2" });
    expect(await status(vm)).toMatchObject({ notEnforced: ["core floor"] });
    expect(agent.floor()).toMatchObject({ enforced: false, why: expect.stringContaining("not exclusive") });
  });

  it("gives its core back when its guest powers off, and another one has it then", async () => {
    {
      using guest = await vm.dial();
      await guest.machine.shutdown({ graceMs: 100 });
    }
    const { calls } = restarted(driver);
    const workspace = basename(vm.folder) as WorkspaceId;
    expect(await calls.awaitExit({ workspace, timeoutMs: 30_000 }, never)).toMatchObject({ state: "exited" });
    expect(everybody()).toBe("0-2");
    const next = await driver.launch(size);
    expect(threadsOf(lookAt(driver, next).pid)["fc_vcpu 0"]?.cpus).toBe("2");
    await next.machine[Symbol.asyncDispose]();
    await vm.machine[Symbol.asyncDispose]();
    expect(everybody()).toBe("0-2");
    expect(readLine(`${seen.stack}/cpuset.cpus.partition`)).toBe("member");
    expect(await driver.leftovers()).toEqual([]);
  });
});

it("QEMU's virtual CPU is alone on its core, too, with QEMU's other threads on the shared one", async () => {
  await using driver = await qemuKvmDriver();
  const vm = await driver.launch(size);
  expect(await restarted(driver).status(vm)).toMatchObject({ state: "running", notEnforced: [] });
  const { "CPU 0/KVM": vcpu, ...others } = threadsOf(lookAt(driver, vm).pid);
  expect(vcpu).toEqual({ cpus: "2", group: "vcpu0" });
  expect(Object.keys(others).length).toBeGreaterThan(0);
  for (const each of Object.values(others)) expect(each).toEqual({ cpus: "1", group: "shared" });
});

describe("the node agent's process, with the rights that it has", () => {
  it("gives a virtual CPU its core, and is killed; its successor finds it there and takes it back", async () => {
    const { config, plan } = firecrackerPlan();
    await using host = new HostFixture(config);
    const workspace = newWorkspaceId();
    let pid = 0;
    {
      await using agent = new AgentProcess(host);
      await agent.serving();
      using node = createIpcClient(agent.socket, nodeContract);
      expect(await node.call("floor", {})).toMatchObject({ enforced: true, cores: 1 });
      await node.call("prepare", { workspace, diskMib: 64 }, slow);
      const launched = await node.call(
        "launch",
        { workspace, lifetime: newLifetimeId(), ...plan({ cpus: 1, memoryMib: 128 }) },
        slow,
      );
      expect(launched).toMatchObject({ state: "running", notEnforced: [] });
      pid = launched.pid ?? 0;
    }
    expect(threadsOf(pid)["fc_vcpu 0"]).toEqual({ cpus: "2", group: "vcpu0" });
    await using agent = new AgentProcess(host);
    await agent.serving();
    using node = createIpcClient(agent.socket, nodeContract);
    expect(await node.call("awaitExit", { workspace, timeoutMs: 0 })).toMatchObject({ pid, notEnforced: [] });
    await node.call("remove", { workspace }, slow);
    expect(everybody()).toBe("0-2");
  });
});

describe("a VMM that takes more than was asked for it", () => {
  it("has one core and the shared one for four virtual CPUs, and no more time than cpu.max says", async () => {
    await using driver = await hostileFirecrackerDriver({ vcpu_count: 4 });
    const vm = await driver.launch(size);
    const { pid, cgroup } = lookAt(driver, vm);
    using guest = await vm.dial();
    const cpus = Object.entries(threadsOf(pid)).flatMap(([name, thread]) =>
      name.startsWith("fc_vcpu") ? thread.cpus : [],
    );
    expect(cpus.sort()).toEqual(["1", "1", "1", "2"]);
    await sh(guest, "for i in 1 2 3 4; do while :; do :; done & done; sleep 1");
    const used = () => Number(/^usage_usec (\d+)$/m.exec(readLine(`${cgroup}/cpu.stat`))?.[1]);
    const [fromUs, fromMs] = [used(), performance.now()];
    await sleep(5_000);
    const cores = (used() - fromUs) / 1000 / (performance.now() - fromMs);
    writeFileSync(join(keptFolder(), "cpu-max.json"), `${JSON.stringify({ cores })}\n`);
    expect(cores).toBeGreaterThan(1.1);
    expect(cores).toBeLessThan(1.6);
    expect(readLine(`${cgroup}/cpu.stat`)).toMatch(/^nr_throttled [1-9]/m);
  });

  it("ends when it has filled its memory.max, alone", async () => {
    await using driver = await hostileFirecrackerDriver({ mem_size_mib: 448 });
    const vm = await driver.launch(size);
    const { cgroup } = lookAt(driver, vm);
    using guest = await vm.dial();
    const filled =
      "mkdir -p /tmp/fill && mount -t tmpfs -o size=320m none /tmp/fill && head -c 280M /dev/zero > /tmp/fill/x";
    await sh(guest, filled).catch(() => undefined);
    const { status } = restarted(driver);
    let last = await status(vm);
    for (let wait = 0; last.state === "running" && wait < 100; wait++) {
      await sleep(100);
      last = await status(vm);
    }
    expect(last).toMatchObject({ state: "exited" });
    expect(readLine(`${cgroup}/memory.events`)).toMatch(/^oom_kill [1-9]/m);
  });

  it("makes no more processes and threads than pids.max", async () => {
    await using driver = await firecrackerDriver();
    const vm = await driver.launch(size);
    const { cgroup } = lookAt(driver, vm);
    // Root's, whom RLIMIT_NPROC does not bind: this is the group's limit alone. They stay until the group is removed, however
    // long a slow host takes to make them.
    const each = `read n < ${cgroup}/pids.current; echo $n >&2; sleep 600 2>/dev/null & i=$((i+1))`;
    const bomb = `echo 0 > ${cgroup}/shared/cgroup.procs; i=0; while [ $i -lt 200 ]; do ${each}; done`;
    const stdio: ["ignore", "ignore", "pipe"] = ["ignore", "ignore", "pipe"];
    const { stderr } = spawnSync("sh", ["-c", bomb], { encoding: "utf8", stdio });
    expect(stderr).toMatch(/[Cc]annot fork/);
    expect(Math.max(...(stderr.match(/^\d+$/gm) ?? []).map(Number))).toBe(129);
    expect(readLine(`${cgroup}/pids.events`)).toMatch(/^max [1-9]/m);
  });
});

describe("a host that can't hold a core", () => {
  it("runs more virtual CPUs than it has cores, and says of each that its floor is not enforced", async () => {
    await using _other = group("exai-test-other", { "cpuset.cpus": "0-2" });
    await using driver = await firecrackerDriver();
    const vms = [await driver.launch(size), await driver.launch({ ...size, cpus: 4 })];
    const { agent, status } = restarted(driver);
    expect(agent.floor()).toMatchObject({ enforced: false, why: expect.stringContaining("not exclusive") });
    for (const vm of vms) {
      expect(await status(vm)).toMatchObject({ state: "running", notEnforced: ["core floor"] });
      const { pid, cgroup } = lookAt(driver, vm);
      for (const thread of Object.values(threadsOf(pid)))
        expect(thread).toEqual({ cpus: "0-2", group: basename(cgroup) });
    }
  });
});

function group(name: string, files: Record<string, string>): AsyncDisposable {
  const folder = join(cgroupRoot, name);
  spawnSync("mkdir", [folder]);
  for (const [file, value] of Object.entries(files)) writeFileSync(join(folder, file), value);
  return { [Symbol.asyncDispose]: async () => void spawnSync("rmdir", [folder]) };
}
