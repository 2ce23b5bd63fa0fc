import { execFileSync } from "node:child_process";
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { nodeContract } from "@exai/api/host";
import { newWorkspaceId, type WorkspaceId } from "@exai/base";
import type { Handlers } from "@exai/ipc";
import { NodeError } from "@exai/node";
import { expect, test } from "vitest";
import { HostFixture, pausedLaunch, pausedMachine } from "./host-fixture.ts";
import { processExists, until } from "./launcher-fixture.ts";

const never = new AbortController().signal;
type Calls = Handlers<typeof nodeContract>;

const launchRequest = (workspace: WorkspaceId, change: object = {}) => ({ ...pausedLaunch(workspace), ...change });

async function running(calls: Calls, workspace = newWorkspaceId()) {
  await calls.prepare({ workspace, diskMib: 64 }, never);
  const status = await calls.launch(launchRequest(workspace), never);
  return { workspace, pid: status.pid ?? 0, lifetime: status.lifetime };
}

const code = (expected: string) => expect.objectContaining({ code: expected });

test("a VM from its disk to nothing", async () => {
  await using host = new HostFixture();
  const calls = host.agent().handlers(host.tenants[0]);
  const workspace = newWorkspaceId();
  const prepared = await calls.prepare({ workspace, diskMib: 256 }, never);
  expect(prepared).toMatchObject({ state: "prepared", uid: host.config.vmUids.first });
  const disk = join(host.config.vmsFolder, workspace, "overlay.ext4");
  const { uid, mode, size, blocks } = statSync(disk);
  expect([uid, mode & 0o777, size]).toEqual([prepared.uid, 0o600, 256 << 20]);
  expect(blocks * 512).toBeLessThan(2 << 20); // sparse
  expect(execFileSync("e2label", [disk]).toString().trim()).toBe("exai-overlay");

  const request = launchRequest(workspace);
  const launched = await calls.launch(request, never);
  expect(launched).toMatchObject({ state: "running", lifetime: request.lifetime });
  expect(await greeting(join(host.config.runFolder, "m", host.tenants[0], `${workspace}.qmp`))).toContain("QMP");
  const folder = join(host.config.runFolder, "t", host.tenants[0], "vm", workspace);
  const { channel } = host.config.tenants[0] ?? { channel: { uid: 0 } };
  expect([lstatSync(folder).uid, lstatSync(folder).mode & 0o777]).toEqual([channel.uid, 0o700]);
  expect(lstatSync(join(folder, "guest.sock")).uid).toBe(channel.uid);
  expect(await calls.list({}, never)).toEqual({ vms: [launched] });
  expect(await calls.awaitExit({ workspace, timeoutMs: 50 }, never)).toEqual(launched);

  expect(await calls.kill({ workspace }, never)).toMatchObject({ state: "exited", exit: { signal: 9 } });
  expect(existsSync(join(folder, "guest.sock"))).toBe(false);
  await calls.remove({ workspace }, never);
  expect(host.leftovers()).toEqual([]);
  expect(await calls.list({}, never)).toEqual({ vms: [] });
});

test("what VMMs say of their devices goes to their tenant alone, and only what Firecracker itself has said", async () => {
  await using host = new HostFixture();
  const agent = host.agent();
  const [mine, theirs] = host.tenants.map((tenant) => agent.handlers(tenant));
  if (mine === undefined || theirs === undefined) throw new Error("two tenants");
  const { workspace } = await running(mine);
  const folder = join(host.config.vmsFolder, workspace);
  const launch = JSON.parse(readFileSync(join(folder, "launch.json"), "utf8"));
  writeFileSync(join(folder, "metrics.json"), '{"utc_timestamp_ms":1,"block":{"event_fails":2}}\n');
  // A workspace that an earlier start ran under Firecracker.
  expect(await mine.devices({}, never)).toEqual({ reports: [], more: 0 });
  launch.machine.vmm = "firecracker";
  writeFileSync(join(folder, "launch.json"), JSON.stringify(launch));
  expect(await mine.devices({}, never)).toMatchObject({ reports: [{ workspace, failed: { disk: 2 } }], more: 0 });
  expect(await theirs.devices({}, never)).toEqual({ reports: [], more: 0 });
});

test("a record that can't be read keeps nobody from being served, and its VM from being forgotten", async () => {
  await using host = new HostFixture();
  const first = host.agent().handlers(host.tenants[0]);
  const { workspace } = await running(first);
  const record = join(host.config.vmsFolder, workspace, "tenant.json");
  const kept = readFileSync(record);
  writeFileSync(record, "");
  const calls = host.agent().handlers(host.tenants[0]);
  const other = await running(calls);
  await calls.remove({ workspace: other.workspace }, never);
  for (const refused of [
    calls.prepare({ workspace, diskMib: 64 }, never),
    calls.launch(launchRequest(workspace), never),
    calls.kill({ workspace }, never),
    calls.remove({ workspace }, never),
    calls.list({}, never),
  ]) {
    await expect(refused).rejects.toEqual(code("broken-state"));
  }
  writeFileSync(record, kept);
});

test("a repeated step answers as the first did, and a lifetime runs once", async () => {
  await using host = new HostFixture();
  const calls = host.agent().handlers(host.tenants[0]);
  const workspace = newWorkspaceId();
  const first = await calls.prepare({ workspace, diskMib: 64 }, never);
  expect(await calls.prepare({ workspace, diskMib: 64 }, never)).toEqual(first);
  await expect(calls.prepare({ workspace, diskMib: 65 }, never)).rejects.toEqual(code("disk-size"));
  const request = launchRequest(workspace);
  const launched = await calls.launch(request, never);
  expect(await calls.launch(request, never)).toEqual(launched);
  await expect(calls.launch(launchRequest(workspace), never)).rejects.toEqual(code("running"));
  const killed = await calls.kill({ workspace }, never);
  expect(await calls.kill({ workspace }, never)).toEqual(killed);
  expect(await calls.launch(request, never)).toEqual(killed);
  const again = await calls.launch(launchRequest(workspace), never);
  expect(again.state).toBe("running");
  await calls.remove({ workspace }, never);
  await calls.remove({ workspace }, never);
  expect(host.leftovers()).toEqual([]);
});

test("what does not exist is absent, and can't be launched", async () => {
  await using host = new HostFixture();
  const calls = host.agent().handlers(host.tenants[0]);
  const workspace = newWorkspaceId();
  const absent = { workspace, state: "absent", notEnforced: [] };
  expect(await calls.kill({ workspace }, never)).toEqual(absent);
  expect(await calls.awaitExit({ workspace, timeoutMs: 60_000 }, never)).toEqual(absent);
  await expect(calls.launch(launchRequest(workspace), never)).rejects.toEqual(code("not-prepared"));
  expect(host.leftovers()).toEqual([]);
});

test("another tenant's workspace is answered as if it did not exist", async () => {
  await using host = new HostFixture();
  const agent = host.agent();
  const [mine, other] = host.tenants.map((tenant) => agent.handlers(tenant)) as [Calls, Calls];
  const { workspace, pid } = await running(mine);
  const absent = { workspace, state: "absent", notEnforced: [] };
  expect(await other.kill({ workspace }, never)).toEqual(absent);
  expect(await other.awaitExit({ workspace, timeoutMs: 0 }, never)).toEqual(absent);
  expect(await other.remove({ workspace }, never)).toEqual({});
  expect(await other.list({}, never)).toEqual({ vms: [] });
  await expect(other.launch(launchRequest(workspace), never)).rejects.toEqual(code("not-prepared"));
  const refused = await other.prepare({ workspace, diskMib: 64 }, never).catch((error: unknown) => error);
  expect(refused).toEqual(code("name-taken"));
  // The same answer as for a stranger with the same first characters: it tells nothing about whose it is.
  const similar = `${workspace.slice(0, 8)}${newWorkspaceId().slice(8)}` as WorkspaceId;
  const collision = await other.prepare({ workspace: similar, diskMib: 64 }, never).catch((error: unknown) => error);
  expect(collision).toEqual(refused);
  expect(processExists(pid)).toBe(true);
  await mine.remove({ workspace }, never);
  expect(host.leftovers()).toEqual([]);
});

test("uids are not shared, and run out in words", async () => {
  await using host = new HostFixture({ vmUids: { first: 3_000_000_100, count: 2 } });
  const calls = host.agent().handlers(host.tenants[0]);
  const [a, b, c] = [newWorkspaceId(), newWorkspaceId(), newWorkspaceId()] as const;
  const uids = [
    (await calls.prepare({ workspace: a, diskMib: 64 }, never)).uid,
    (await calls.prepare({ workspace: b, diskMib: 64 }, never)).uid,
  ];
  expect(uids).toEqual([3_000_000_100, 3_000_000_101]);
  await expect(calls.prepare({ workspace: c, diskMib: 64 }, never)).rejects.toEqual(code("uids-exhausted"));
  expect(host.leftovers().filter((name) => name.includes(c.slice(0, 8)))).toEqual([]);
  await calls.remove({ workspace: a }, never);
  expect((await calls.prepare({ workspace: c, diskMib: 64 }, never)).uid).toBe(3_000_000_100);
  for (const workspace of [b, c]) await calls.remove({ workspace }, never);
  expect(host.leftovers()).toEqual([]);
});

test("only root's regular files are blobs", async () => {
  await using host = new HostFixture();
  const calls = host.agent().handlers(host.tenants[0]);
  const workspace = newWorkspaceId();
  await calls.prepare({ workspace, diskMib: 64 }, never);
  const blobs = join(host.config.imageStore, "blobs", "sha256");
  const [missing, link, strangers, open, good] = [..."abcde"].map((digit) => digit.repeat(64)) as [string, ...string[]];
  symlinkSync("/etc/shadow", join(blobs, String(link)));
  for (const digest of [strangers, open, good]) writeFileSync(join(blobs, String(digest)), "x", { mode: 0o444 });
  chownSync(join(blobs, String(strangers)), 12345, 0);
  execFileSync("chmod", ["666", join(blobs, String(open))]);
  for (const blob of [missing, link, strangers, open]) {
    const request = launchRequest(workspace, { files: [{ blob, target: "/vm/kernel" }] });
    await expect(calls.launch(request, never)).rejects.toEqual(code("no-blob"));
  }
  const status = await calls.launch(launchRequest(workspace, { files: [{ blob: good, target: "/vm/kernel" }] }), never);
  expect(readFileSync(`/proc/${status.pid}/root/vm/kernel`, "utf8")).toBe("x");
  await calls.remove({ workspace }, never);
  expect(host.leftovers()).toEqual([]);
});

test("arguments of a hostile broker reach nothing on the host", async () => {
  await using host = new HostFixture();
  const calls = host.agent().handlers(host.tenants[0]);
  const workspace = newWorkspaceId();
  await calls.prepare({ workspace, diskMib: 64 }, never);
  const hostile = [
    ["-drive", "file=/etc/shadow,format=raw,if=none,readonly=on"],
    ["-drive", `file=${join(host.config.vmsFolder, workspace, "tenant.json")},format=raw,if=none,readonly=on`],
    ["-chardev", "file,id=x,path=/vm/new"],
    ["-chardev", "socket,id=x,path=/run/docker.sock"],
  ];
  for (const extra of hostile) {
    await calls.launch(launchRequest(workspace, { argv: [...pausedMachine, ...extra] }), never);
    const status = await calls.awaitExit({ workspace, timeoutMs: 10_000 }, never);
    expect(status).toMatchObject({ state: "exited", exit: { code: 1 } });
    const log = readFileSync(join(host.config.vmsFolder, workspace, "vmm.log"), "utf8");
    expect(log).toMatch(/No such file or directory|Read-only file system/);
  }
  for (const argv of [["a\0b"], Array(200).fill("\u0001".repeat(4096))]) {
    await expect(calls.launch(launchRequest(workspace, { argv }), never)).rejects.toEqual(code("launch-failed"));
  }
  const onDisk = { files: [{ blob: "a".repeat(64), target: "/vm/overlay" }] };
  writeFileSync(join(host.config.imageStore, "blobs", "sha256", "a".repeat(64)), "x", { mode: 0o444 });
  await expect(calls.launch(launchRequest(workspace, onDisk), never)).rejects.toEqual(code("launch-failed"));
  expect(existsSync(join(host.config.runFolder, "t", host.tenants[0], "vm", workspace, "guest.sock"))).toBe(false);
  await calls.remove({ workspace }, never);
  expect(host.leftovers()).toEqual([]);
});

test("links in the channel's folders lead root nowhere", async () => {
  await using host = new HostFixture();
  const calls = host.agent().handlers(host.tenants[0]);
  const workspace = newWorkspaceId();
  await calls.prepare({ workspace, diskMib: 64 }, never);
  const victim = join(host.root, "victim");
  mkdirSync(victim, { mode: 0o711 });
  writeFileSync(join(victim, "guest.sock"), "precious");
  const parent = join(host.config.runFolder, "t", host.tenants[0], "vm");
  symlinkSync(victim, join(parent, workspace));
  await expect(calls.launch(launchRequest(workspace), never)).rejects.toThrow(/ELOOP|ENOTDIR/);
  expect(await calls.kill({ workspace }, never)).toMatchObject({ state: "prepared" });
  expect(statSync(victim).uid).toBe(0);
  // Nothing of the channel's keeps the rest from going.
  await calls.remove({ workspace }, never);
  expect(readFileSync(join(victim, "guest.sock"), "utf8")).toBe("precious");
  expect(host.leftovers()).toEqual([]);
});

test("rubbish in the channel's folder stops neither a kill nor a removal", async () => {
  await using host = new HostFixture();
  const calls = host.agent().handlers(host.tenants[0]);
  const { workspace, pid } = await running(calls);
  const folder = join(host.config.runFolder, "t", host.tenants[0], "vm", workspace);
  rmSync(join(folder, "guest.sock"));
  mkdirSync(join(folder, "guest.sock", ..."abcdefghijkl"), { recursive: true });
  expect(await calls.kill({ workspace }, never)).toMatchObject({ state: "exited" });
  expect(processExists(pid)).toBe(false);
  await calls.remove({ workspace }, never);
  expect(await calls.list({}, never)).toEqual({ vms: [] });
  expect(host.leftovers()).toEqual([workspace]); // the channel's own
  rmSync(folder, { recursive: true });
});

test("a full disk is told as such", async () => {
  await using host = new HostFixture();
  mkdirSync(host.config.vmsFolder);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=32k", "tmpfs", host.config.vmsFolder]);
  try {
    const calls = host.agent().handlers(host.tenants[0]);
    const workspace = newWorkspaceId();
    await expect(calls.prepare({ workspace, diskMib: 64 }, never)).rejects.toEqual(code("disk-full"));
    await calls.remove({ workspace }, never);
    expect(host.leftovers()).toEqual([]);
  } finally {
    execFileSync("umount", [host.config.vmsFolder]);
  }
});

test("awaitExit answers when the VMM ends, and also when its launcher was killed", async () => {
  await using host = new HostFixture();
  const calls = host.agent().handlers(host.tenants[0]);
  const one = await running(calls);
  const waiting = calls.awaitExit({ workspace: one.workspace, timeoutMs: 60_000 }, never);
  await endPolitely(one.pid);
  const endedMs = performance.now();
  expect(await waiting).toMatchObject({ state: "exited", exit: { code: 0 } });
  expect(performance.now() - endedMs).toBeLessThan(900); // the poll of /proc would take up to 1000
  const two = await running(calls, one.workspace);
  const again = calls.awaitExit({ workspace: one.workspace, timeoutMs: 60_000 }, never);
  process.kill(parentOf(two.pid), "SIGKILL");
  const status = await again;
  expect(status.state).toBe("exited");
  expect(status.exit).toBeUndefined();
  await calls.remove({ workspace: one.workspace }, never);
  expect(host.leftovers()).toEqual([]);
});

test("awaitExit ends when its caller has gone", async () => {
  await using host = new HostFixture();
  const calls = host.agent().handlers(host.tenants[0]);
  const { workspace } = await running(calls);
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 50);
  expect(await calls.awaitExit({ workspace, timeoutMs: 60_000 }, abort.signal)).toMatchObject({ state: "running" });
  await calls.remove({ workspace }, never);
  expect(host.leftovers()).toEqual([]);
});

test("a new agent adopts by pid and start time, never by pid alone", async () => {
  await using host = new HostFixture();
  const { workspace, pid } = await running(host.agent().handlers(host.tenants[0]));
  const calls = host.agent().handlers(host.tenants[0]);
  expect(await calls.list({}, never)).toMatchObject({ vms: [{ workspace, state: "running", pid }] });
  const path = join(host.config.vmsFolder, workspace, "status.json");
  const truth = readFileSync(path, "utf8");
  // As if both pids had gone to strangers.
  writeFileSync(
    path,
    truth.replace(/(tartTime":)(\d+)/g, (_, name, ticks) => `${name}${Number(ticks) - 1}`),
  );
  expect(await calls.kill({ workspace }, never)).toMatchObject({ state: "exited" });
  expect(processExists(pid)).toBe(true);
  writeFileSync(path, truth);
  await calls.remove({ workspace }, never);
  await until(() => !processExists(pid));
  expect(processExists(pid)).toBe(false);
  expect(host.leftovers()).toEqual([]);
});

const steps = {
  prepare: ["claim", "netns", "disk", "cgroup"],
  launch: ["launch record", "channel folder", "launcher"],
  kill: ["kill"],
  remove: ["kill", "no netns", "no cgroup", "no disk", "no channel folder"],
} as const;
const everyStep = Object.entries(steps).flatMap(([call, names]) => names.map((name) => [call, name] as const));

test.each(everyStep)("after an end in %s, behind '%s', the repeated call comes to the same", async (call, name) => {
  await using host = new HostFixture();
  const workspace = newWorkspaceId();
  const request = launchRequest(workspace);
  let armed = "";
  const agentThatDies = () =>
    host
      .agent((step) => {
        if (armed !== "" && step === name) throw new NodeError("broken-state", "as if killed here");
      })
      .handlers(host.tenants[0]);
  for (const now of ["prepare", "launch", "kill", "remove"]) {
    const take = (calls: Calls): Promise<unknown> => {
      if (now === "prepare") return calls.prepare({ workspace, diskMib: 64 }, never);
      if (now === "launch") return calls.launch(request, never);
      return now === "kill" ? calls.kill({ workspace }, never) : calls.remove({ workspace }, never);
    };
    armed = now === call ? name : "";
    if (armed !== "") await expect(take(agentThatDies())).rejects.toEqual(code("broken-state"));
    armed = "";
    const state = { prepare: "prepared", launch: "running", kill: "exited" }[now];
    expect(await take(host.agent().handlers(host.tenants[0]))).toMatchObject(state === undefined ? {} : { state });
  }
  expect(host.leftovers()).toEqual([]);
});

/** QEMU powers off on SIGTERM, once it listens for it. */
async function endPolitely(pid: number): Promise<void> {
  await until(() => {
    if (!processExists(pid)) return true;
    process.kill(pid, "SIGTERM");
    return false;
  });
}

const parentOf = (pid: number): number =>
  Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);

/** First bytes of a socket, once somebody listens there. */
async function greeting(path: string): Promise<string> {
  const socket = connect(path);
  try {
    return await new Promise((resolve, reject) => {
      socket.once("data", (chunk) => resolve(chunk.toString()));
      socket.once("error", reject);
    });
  } finally {
    socket.destroy();
  }
}
