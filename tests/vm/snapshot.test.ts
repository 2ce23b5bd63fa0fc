import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeContract, type SnapshotRef } from "@exai/api/host";
import { newWorkspaceId, type WorkspaceId } from "@exai/base";
import { createIpcClient } from "@exai/ipc";
import { connectMonitor, connectQmp, type NodeCalls, nodeCalls } from "@exai/machine";
import { NodeError } from "@exai/node";
import { expect, test } from "vitest";
import { AgentProcess } from "./agent-process.ts";
import { HostFixture, pausedLaunch, pausedMachine, stepsOf } from "./host-fixture.ts";

/** The node agent's part of a snapshot, on a real QEMU that stands still; the contract suite has the guest's part. */
const sizeMib = 128;

const launchRequest = (workspace: WorkspaceId, load?: SnapshotRef) => ({
  ...pausedLaunch(workspace),
  ...(load === undefined ? {} : { load: { ...load, argv: [...pausedMachine, "-incoming", "fd:12"] } }),
});

async function started(node: NodeCalls, load?: SnapshotRef): Promise<WorkspaceId> {
  const workspace = newWorkspaceId();
  await node.prepare({ workspace, diskMib: 64 });
  await node.launch(launchRequest(workspace, load));
  return workspace;
}

const monitorOf = (host: HostFixture, workspace: WorkspaceId): string =>
  join(host.config.runFolder, "m", host.tenants[0], `${workspace}.qmp`);

async function saved(host: HostFixture, node: NodeCalls, workspace: WorkspaceId): Promise<SnapshotRef> {
  const ref = await node.attachVolume({ workspace, sizeMib });
  using monitor = await connectMonitor("qemu", monitorOf(host, workspace));
  await monitor.save();
  await node.kill({ workspace });
  return ref;
}

const volumeOf = (host: HostFixture, ref: SnapshotRef): string =>
  join(host.config.vmsFolder, ref.workspace, "volumes", ref.lifetime);
const mounts = (host: HostFixture): string[] =>
  readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .filter((line) => line.includes(host.config.vmsFolder));
const code = (expected: string) => expect.objectContaining({ code: expected });

test("saved and loaded by an agent with no more rights than its work takes", async () => {
  await using host = new HostFixture();
  await using agent = new AgentProcess(host);
  await agent.serving();
  using client = createIpcClient(agent.socket, nodeContract);
  const node = nodeCalls(client);
  const source = await started(node);
  const ref = await saved(host, node, source);
  const record = await node.sealSnapshot(ref);
  expect(record).toMatchObject({
    sizeMib,
    origin: {
      vmm: { name: "qemu", version: expect.stringMatching(/QEMU emulator version/) },
      machine: { memoryMib: 128 },
    },
    files: { state: { sizeBytes: statSync(join(volumeOf(host, ref), "data", "state")).size } },
  });
  expect(await node.sealSnapshot(ref)).toEqual(record);
  expect(await node.awaitExit({ workspace: source, timeoutMs: 0 })).toMatchObject({ volumesMib: sizeMib });
  const clone = await started(node, ref);
  using monitor = await connectQmp(monitorOf(host, clone));
  const deadlineMs = Date.now() + 10_000;
  while ((await monitor.status()) === "inmigrate" && Date.now() < deadlineMs);
  expect(await monitor.status()).toMatch(/^(paused|prelaunch|postmigrate)$/);
  await node.dropVolume(ref);
  await node.dropVolume(ref);
  await expect(node.launch(launchRequest(source, ref))).rejects.toMatchObject({ remoteCode: "no-snapshot" });
  for (const workspace of [source, clone]) await node.remove({ workspace });
  expect(host.leftovers()).toEqual([]);
  expect(mounts(host)).toEqual([]);
});

test("a volume is root's and the VMM's alone, in memory, and goes with its workspace", async () => {
  await using host = new HostFixture();
  const node = stepsOf(host.agent(), host.tenants[0]);
  const workspace = await started(node);
  const ref = await node.attachVolume({ workspace, sizeMib });
  const at = volumeOf(host, ref);
  const { uid } = await node.awaitExit({ workspace, timeoutMs: 0 });
  const modeOf = (path: string) => [statSync(path).uid, statSync(path).mode & 0o777];
  expect([join(at, ".."), at, join(at, "data"), `${at}.json`].map(modeOf)).toEqual([
    [0, 0o700],
    [0, 0o700],
    [uid, 0o700],
    [0, 0o600],
  ]);
  expect(mounts(host)).toEqual([expect.stringMatching(/^exai-volume \S+ tmpfs rw,nosuid,nodev,noexec,.*size=131072k/)]);
  expect(await node.attachVolume({ workspace, sizeMib })).toEqual(ref);
  await node.remove({ workspace });
  expect(mounts(host)).toEqual([]);
  expect(host.leftovers()).toEqual([]);
});

test("what is out of order is refused with a reason", async () => {
  await using host = new HostFixture();
  const node = stepsOf(host.agent(), host.tenants[0]);
  const workspace = newWorkspaceId();
  await expect(node.attachVolume({ workspace, sizeMib })).rejects.toEqual(code("not-prepared"));
  await node.prepare({ workspace, diskMib: 64 });
  await expect(node.attachVolume({ workspace, sizeMib })).rejects.toEqual(code("not-running"));
  const request = launchRequest(workspace);
  await node.launch(request);
  const ref = { workspace, lifetime: request.lifetime };
  await expect(node.sealSnapshot(ref)).rejects.toEqual(code("no-snapshot"));
  await expect(node.attachVolume({ workspace, sizeMib: 1 << 18 })).rejects.toEqual(code("no-memory"));
  expect(mounts(host)).toEqual([]);
  await node.attachVolume({ workspace, sizeMib });
  await expect(node.sealSnapshot(ref)).rejects.toEqual(code("running"));
  await node.kill({ workspace });
  // Nothing was saved into it: the descriptor's file is empty.
  await expect(node.sealSnapshot(ref)).rejects.toEqual(code("no-snapshot"));
  const other = stepsOf(host.agent(), host.tenants[1]);
  await expect(other.sealSnapshot(ref)).rejects.toEqual(code("not-prepared"));
  const theirs = newWorkspaceId();
  await other.prepare({ workspace: theirs, diskMib: 64 });
  await expect(other.launch(launchRequest(theirs, ref))).rejects.toEqual(code("no-snapshot"));
  await other.remove({ workspace: theirs });
  // Half a snapshot goes when the next lifetime begins.
  await node.launch(launchRequest(workspace));
  expect(mounts(host)).toEqual([]);
  await node.remove({ workspace });
  expect(host.leftovers()).toEqual([]);
});

test("a snapshot that was checked stays what it is until it is loaded", async () => {
  await using host = new HostFixture();
  const happened: string[] = [];
  const first = stepsOf(host.agent(), host.tenants[0]);
  const source = await started(first);
  const ref = await saved(host, first, source);
  await first.sealSnapshot(ref);
  let dropped: Promise<unknown> = Promise.resolve();
  const agent = host.agent((step) => {
    happened.push(step);
    // Now it has been checked, and the launcher has not begun.
    if (step === "launch record") dropped = node.dropVolume(ref).then(() => happened.push("dropped"));
  });
  const node = stepsOf(agent, host.tenants[0]);
  const clone = newWorkspaceId();
  await node.prepare({ workspace: clone, diskMib: 64 });
  await node.launch(launchRequest(clone, ref));
  await dropped;
  expect(happened.indexOf("launcher")).toBeGreaterThan(0);
  expect(happened.indexOf("dropped")).toBeGreaterThan(happened.indexOf("launcher"));
  // Each from a snapshot of the other, at once: neither waits for ever.
  const both = [source, clone].map((workspace, at) =>
    node.launch(launchRequest(workspace, { workspace: at === 0 ? clone : source, lifetime: ref.lifetime })),
  );
  expect((await Promise.allSettled(both)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  for (const workspace of [source, clone]) await node.remove({ workspace });
  expect(host.leftovers()).toEqual([]);
});

test("volumes that are made at once are promised once", async () => {
  await using host = new HostFixture();
  const node = stepsOf(host.agent(), host.tenants[0]);
  const two = await Promise.all([started(node), started(node)]);
  const availableMib = Number(/MemAvailable: +(\d+)/.exec(readFileSync("/proc/meminfo", "utf8"))?.[1]) / 1024;
  const most = Math.floor(availableMib * 0.6);
  const attached = await Promise.allSettled(two.map((workspace) => node.attachVolume({ workspace, sizeMib: most })));
  expect(attached.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  expect(attached.find(({ status }) => status === "rejected")).toMatchObject({ reason: { code: "no-memory" } });
  for (const workspace of two) await node.remove({ workspace });
  expect(host.leftovers()).toEqual([]);
});

test("a dropped volume that its VMM still has holds nothing, and can't be filled again", async () => {
  await using host = new HostFixture();
  const node = stepsOf(host.agent(), host.tenants[0]);
  const workspace = await started(node);
  const ref = await node.attachVolume({ workspace, sizeMib });
  // What keeps the file system alive as the VMM's mount and descriptors do.
  const state = openSync(join(volumeOf(host, ref), "data", "state"), "w");
  try {
    writeSync(state, Buffer.alloc(1 << 20));
    await node.dropVolume(ref);
    expect(mounts(host)).toEqual([]);
    expect(fstatSync(state).size).toBe(0);
    // A page at most, and then none.
    expect(writeSync(state, Buffer.alloc(1 << 20), 0, 1 << 20, 0)).toBeLessThanOrEqual(4096);
    expect(() => writeSync(state, Buffer.alloc(1 << 20), 0, 1 << 20, 1 << 20)).toThrow(/ENOSPC/);
  } finally {
    closeSync(state);
  }
  expect(await node.awaitExit({ workspace, timeoutMs: 0 })).not.toHaveProperty("volumesMib");
  await node.remove({ workspace });
  expect(host.leftovers()).toEqual([]);
});

test("what is sealed is not written to, nor given away again", async () => {
  await using host = new HostFixture();
  const node = stepsOf(host.agent(), host.tenants[0]);
  const workspace = await started(node);
  const ref = await saved(host, node, workspace);
  const file = join(volumeOf(host, ref), "data", "state");
  // As if the VMM had handed its descriptor to somebody who outlives it.
  const kept = openSync(file, "r+");
  try {
    await expect(node.sealSnapshot(ref)).rejects.toThrow(/somebody still writes/);
  } finally {
    closeSync(kept);
  }
  await node.sealSnapshot(ref);
  expect(() => openSync(file, "r+")).toThrow(/EROFS/);
  const again = { ...launchRequest(workspace), lifetime: ref.lifetime };
  await node.launch(launchRequest(workspace));
  await node.kill({ workspace });
  await node.launch(again);
  await expect(node.attachVolume({ workspace, sizeMib })).rejects.toThrow(/saved already/);
  await node.remove({ workspace });
  expect(host.leftovers()).toEqual([]);
});

test("half a state, of a QEMU that died while it wrote, is not sealed", async () => {
  await using host = new HostFixture();
  const node = stepsOf(host.agent(), host.tenants[0]);
  const workspace = await started(node);
  const ref = await saved(host, node, workspace);
  const file = join(volumeOf(host, ref), "data", "state");
  truncateSync(file, Math.floor(statSync(file).size / 2));
  await expect(node.sealSnapshot(ref)).rejects.toThrow(/holds half a snapshot/);
  await node.dropVolume(ref);
  await node.remove({ workspace });
  expect(host.leftovers()).toEqual([]);
});

test("a record that a power cut tore is none, and a hole of a terabyte is no snapshot", async () => {
  await using host = new HostFixture();
  const node = stepsOf(host.agent(), host.tenants[0]);
  const workspace = await started(node);
  const ref = await saved(host, node, workspace);
  truncateSync(join(volumeOf(host, ref), "data", "state"), 2 ** 40);
  const startMs = performance.now();
  await expect(node.sealSnapshot(ref)).rejects.toEqual(code("no-snapshot"));
  expect(performance.now() - startMs).toBeLessThan(5000);
  writeFileSync(`${volumeOf(host, ref)}.json`, "{");
  expect(await node.awaitExit({ workspace, timeoutMs: 0 })).toMatchObject({ state: "exited" });
  await expect(node.sealSnapshot(ref)).rejects.toEqual(code("no-snapshot"));
  await node.launch(launchRequest(workspace));
  expect(mounts(host)).toEqual([]);
  await node.remove({ workspace });
  expect(host.leftovers()).toEqual([]);
});

test("to kill waits for no monitor", async () => {
  await using host = new HostFixture();
  const node = stepsOf(host.agent(), host.tenants[0]);
  const workspace = await started(node);
  // QEMU serves one at a time, so that the agent waits for its turn as it would for a VMM that says nothing.
  using _held = await connectQmp(monitorOf(host, workspace));
  const attached = node.attachVolume({ workspace, sizeMib }).catch((error: unknown) => error);
  await sleep(300);
  const startMs = performance.now();
  expect(await node.kill({ workspace })).toMatchObject({ state: "exited" });
  expect(performance.now() - startMs).toBeLessThan(3000);
  expect(await attached).toMatchObject({ code: "volume-failed" });
  await node.remove({ workspace });
  expect(host.leftovers()).toEqual([]);
});

test("what a VMM left in its volume harms nobody", async () => {
  await using host = new HostFixture();
  const node = stepsOf(host.agent(), host.tenants[0]);
  const workspace = await started(node);
  const victim = join(host.root, "victim");
  writeFileSync(victim, "precious", { mode: 0o600 });
  const ref = await saved(host, node, workspace);
  const data = join(volumeOf(host, ref), "data");
  rmSync(join(data, "state"));
  symlinkSync(victim, join(data, "state"));
  symlinkSync("/", join(data, "root"));
  mkdirSync(join(data, "memory"));
  execFileSync("mkfifo", [join(data, "fifo")]);
  await expect(node.sealSnapshot(ref)).rejects.toEqual(code("no-snapshot"));
  expect([readFileSync(victim, "utf8"), statSync(victim).mode & 0o777]).toEqual(["precious", 0o600]);
  expect(existsSync(join(data, "root"))).toBe(false);
  await node.remove({ workspace });
  expect(host.leftovers()).toEqual([]);
});

const steps = ["volume record", "volume", "volume given", "volume taken over", "volume sealed", "no volume"] as const;
test.each(steps)("after an end behind '%s', the repeated call comes to the same", async (name) => {
  await using host = new HostFixture();
  let armed = true;
  const agent = () =>
    stepsOf(
      host.agent((step) => {
        if (!armed || step !== name) return;
        armed = false;
        throw new NodeError("broken-state", "as if killed here");
      }),
      host.tenants[0],
    );
  const again = async <T>(take: (node: NodeCalls) => Promise<T>): Promise<T> => {
    const before = armed;
    try {
      return await take(agent());
    } catch (error) {
      expect([before, armed, error]).toEqual([true, false, code("broken-state")]);
      return take(agent());
    }
  };
  const workspace = await started(agent());
  const ref = await again((node) => node.attachVolume({ workspace, sizeMib }));
  {
    using monitor = await connectMonitor("qemu", monitorOf(host, workspace));
    await monitor.save();
  }
  await agent().kill({ workspace });
  const record = await again((node) => node.sealSnapshot(ref));
  expect(record.files?.state.sizeBytes).toBeGreaterThan(0);
  await again((node) => node.dropVolume(ref));
  expect(armed).toBe(false);
  expect(mounts(host)).toEqual([]);
  await agent().remove({ workspace });
  expect(host.leftovers()).toEqual([]);
});
