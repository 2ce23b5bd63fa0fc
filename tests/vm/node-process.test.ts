import { lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeContract } from "@exai/api/host";
import { newWorkspaceId } from "@exai/base";
import { createIpcClient } from "@exai/ipc";
import { expect, test } from "vitest";
import { AgentProcess } from "./agent-process.ts";
import { HostFixture, pausedLaunch } from "./host-fixture.ts";
import { processExists, processesOf } from "./launcher-fixture.ts";

test("a VM outlives its agent, whose successor finds it", async () => {
  await using host = new HostFixture();
  const workspace = newWorkspaceId();
  let pid = 0;
  {
    await using agent = new AgentProcess(host);
    await agent.serving();
    using client = createIpcClient(agent.socket, nodeContract);
    await client.call("prepare", { workspace, diskMib: 64 });
    pid = (await client.call("launch", pausedLaunch(workspace))).pid ?? 0;
  }
  expect(processExists(pid)).toBe(true);
  await using agent = new AgentProcess(host);
  await agent.serving();
  using client = createIpcClient(agent.socket, nodeContract);
  expect(await client.call("awaitExit", { workspace, timeoutMs: 0 })).toMatchObject({ state: "running", pid });
  await client.call("remove", { workspace });
  expect(processExists(pid)).toBe(false);
  expect(host.leftovers()).toEqual([]);
  agent.child.stdin?.end();
  expect(await agent.ended).toBe(0);
});

test("killed at any moment, the agent leaves what a repeated call brings to the end", async () => {
  await using host = new HostFixture();
  for (let delayMs = 0; delayMs <= 80; delayMs += 8) {
    const workspace = newWorkspaceId();
    const request = pausedLaunch(workspace);
    {
      await using agent = new AgentProcess(host);
      await agent.serving();
      using client = createIpcClient(agent.socket, nodeContract);
      const calls = client
        .call("prepare", { workspace, diskMib: 64 })
        .then(() => client.call("launch", request))
        .catch(() => undefined);
      await sleep(delayMs);
      agent.child.kill("SIGKILL");
      await calls;
    }
    await using agent = new AgentProcess(host);
    await agent.serving();
    using client = createIpcClient(agent.socket, nodeContract);
    await client.call("prepare", { workspace, diskMib: 64 });
    const status = await client.call("launch", request);
    // One VMM and no other, whoever of the two agents started it.
    expect(status.lifetime).toBe(request.lifetime);
    expect(qemus(status.uid ?? 0)).toEqual(status.state === "running" ? [status.pid] : []);
    await client.call("remove", { workspace });
    expect(qemus(status.uid ?? 0)).toEqual([]);
    expect(host.leftovers()).toEqual([]);
  }
});

test("what a broker left in place of its socket keeps no agent from starting", async () => {
  await using host = new HostFixture();
  const path = join(host.config.runFolder, "node", host.tenants[0], "node.sock");
  mkdirSync(join(path, "in", "the", "way"), { recursive: true });
  await using agent = new AgentProcess(host);
  await agent.serving();
  using client = createIpcClient(agent.socket, nodeContract);
  expect(await client.call("list", {})).toEqual({ vms: [] });
});

test("the socket is the broker's alone, and a link in its folder is not followed", async () => {
  await using host = new HostFixture();
  const victim = join(host.root, "victim");
  writeFileSync(victim, "precious", { mode: 0o600 });
  const path = join(host.config.runFolder, "node", host.tenants[0], "node.sock");
  symlinkSync(victim, path);
  await using agent = new AgentProcess(host);
  await agent.serving();
  const socket = lstatSync(path);
  expect([socket.isSocket(), socket.uid, socket.gid, socket.mode & 0o777]).toEqual([
    true,
    host.config.broker.uid,
    host.config.broker.gid,
    0o600,
  ]);
  expect([readFileSync(victim, "utf8"), lstatSync(victim).uid]).toEqual(["precious", 0]);
});

test("what is not in the contract never reaches a step", async () => {
  await using host = new HostFixture();
  await using agent = new AgentProcess(host);
  await agent.serving();
  const workspace = newWorkspaceId();
  const good = pausedLaunch(workspace);
  const hostile: [string, unknown][] = [
    ["exec", { argv: ["sh"] }],
    ["constructor", {}],
    ["__proto__", {}],
    ["remove", { workspace: "../../../etc" }],
    ["remove", { workspace: `${workspace}/..` }],
    ["prepare", { workspace, diskMib: 1e9 }],
    ["prepare", { workspace, diskMib: 64, tenant: host.tenants[1] }],
    ["launch", { ...good, uid: 0 }],
    ["launch", { ...good, vmm: "/bin/sh" }],
    ["launch", { ...good, files: [{ blob: "../../../../etc/shadow", target: "/vm/kernel" }] }],
    ["launch", { ...good, files: [{ blob: "a".repeat(64), target: "/vm/../etc/ld.so.preload" }] }],
    ["launch", { ...good, argv: Array(201).fill("x") }],
    ["launch", { ...good, argv: ["x".repeat(4097)] }],
  ];
  for (const [method, params] of hostile) {
    const answer = await raw(agent.socket, `${JSON.stringify({ id: 1, method, params })}\n`);
    expect(answer, method).toContain('"error"');
  }
  // A line without an end is cut off, and the next caller is served.
  expect(await raw(agent.socket, "x".repeat(3 << 20))).toBe("");
  using client = createIpcClient(agent.socket, nodeContract);
  expect(await client.call("list", {})).toEqual({ vms: [] });
  expect(host.leftovers()).toEqual([]);
});

/** What a socket answers until a line or its end has come. */
async function raw(path: string, bytes: string): Promise<string> {
  const socket = connect(path);
  let text = "";
  socket.on("error", () => undefined);
  socket.write(bytes);
  await new Promise<void>((done) => {
    socket.once("close", () => done());
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes("\n")) done();
    });
  });
  socket.destroy();
  return text;
}

/** VMMs of a uid; the launcher has the same one and is left out. */
const qemus = (uid: number): number[] =>
  processesOf(uid)
    .filter(({ command }) => command.includes("qemu-system"))
    .map(({ pid }) => pid);
