import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { WorkspaceProcesses } from "@exai/api/workspace";
import { Client, Signer, type Workspace } from "@exai/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stackProcesses, vmProcesses } from "../../tools/bench/pss.ts";
import { leftoversOf, type StackTraces, tracesOf } from "../support/leftovers.ts";
import { rawPlane } from "../support/raw-plane.ts";
import { TestStack } from "../support/stack.ts";

/** Two tenants on one host: neither's token, process nor uid reaches the other. */
interface Tenant {
  readonly id: string;
  readonly client: Client;
  readonly workspace: Workspace;
  readonly channelUid: number;
  readonly vmUid: number;
  readonly vmmPid: number;
}

let stack: TestStack;
let traces: StackTraces;
let run: string;
const tenants: Record<"first" | "second", Tenant> = {} as never;
const pairs = [
  ["first", "second"],
  ["second", "first"],
] as const;

beforeAll(async () => {
  stack = await TestStack.start();
  traces = tracesOf(stack.home);
  run = join("/run/exai", traces.stack);
  const [first] = JSON.parse((await stack.must(["tenant", "ls", "--json"])).stdout) as { tenant: string }[];
  const second = JSON.parse((await stack.must(["tenant", "add", "second", "--json"])).stdout) as { tenant: string };
  if (first === undefined) throw new Error("a stack without a tenant");
  tenants.first = await enter(first.tenant, "local");
  tenants.second = await enter(second.tenant, "second");
});

afterAll(async () => {
  for (const { client } of Object.values(tenants)) await client[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
  expect(leftoversOf(traces)).toEqual([]);
});

async function enter(id: string, name: string): Promise<Tenant> {
  const before = vmProcesses(stack.home).map(({ pid }) => pid);
  // Both have the same name for theirs: names are a tenant's own affair.
  await stack.must(["--tenant", name, "ws", "create", "--name", "mine", "--memory", "128M", "--disk", "128M"]);
  const client = await Client.open({ home: stack.home, tenant: id });
  const workspace = await client.workspaces.get("mine");
  await workspace.run(["sh", "-c", `echo secret-of-${name} > file`]);
  const vmm = vmProcesses(stack.home).find((each) => each.name === "qemu" && !before.includes(each.pid));
  const channel = (await stackProcesses(stack)).find((each) => each.name === `channel-${name}`);
  if (vmm === undefined || channel === undefined) throw new Error("a process is missing");
  return { id, client, workspace, channelUid: uidOf(channel.pid), vmUid: uidOf(vmm.pid), vmmPid: vmm.pid };
}

const uidOf = (pid: number): number => Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);

/** What happens when a process with this uid, and nothing else, does something. The code of the error, or "done". */
function as(uid: number, script: string): string {
  const wrapped = `
    const { connect } = require("node:net"); const fs = require("node:fs");
    process.setgroups([]); process.setgid(${uid}); process.setuid(${uid});
    const say = (text) => { fs.writeSync(1, String(text)); process.exit(0); };
    try { ${script} } catch (error) { say(error.code); }`;
  return execFileSync(process.execPath, ["-e", wrapped], { encoding: "utf8", cwd: "/" });
}
const reading = (path: string) => `fs.readFileSync(${JSON.stringify(path)}); say("done");`;
const listing = (path: string) => `fs.readdirSync(${JSON.stringify(path)}); say("done");`;
const connecting = (path: string) =>
  `connect(${JSON.stringify(path)}).on("connect", () => say("done")).on("error", (error) => say(error.code));`;
const killing = (pid: number) => `process.kill(${pid}, 0); say("done");`;

describe.each(pairs)("the %s tenant and what is the %s's", (mine, theirs) => {
  const [me, other] = [() => tenants[mine], () => tenants[theirs]];

  it("sees its own workspace and no other", async () => {
    const seen: string[] = [];
    for await (const { id } of me().client.workspaces.list()) seen.push(id);
    expect(seen).toEqual([me().workspace.id]);
    await expect(me().client.workspaces.get(other().workspace.id)).rejects.toMatchObject({ code: "not-found" });
  });

  it("can't hand in an intent for it", async () => {
    const { profile, signingKey, publicKey } = me().client.loaded;
    const signer = new Signer({ tenant: profile.tenant, signingKey, publicKey, actor: "test" });
    const path = `/v1/workspaces/${other().workspace.id}/intents`;
    const answer = await post(profile.control, path, signer.mintControlToken(), {
      intent: signer.signIntent(other().workspace.id, { act: "destroy" }),
    });
    expect(answer).toBe(404);
    expect((await other().workspace.refresh()).phase).toBe("running");
  });

  it.each(["its own channel", "the other's channel"])("gets nothing with its token through %s", async (through) => {
    const server = through === "its own channel" ? me() : other();
    const endpoint = (await server.workspace.refresh()).record.endpoint;
    if (endpoint === undefined) throw new Error("no endpoint");
    using plane = rawPlane({ endpoint, client: me().client, workspace: other().workspace.id, serverTenant: server.id });
    const error = await createClient(WorkspaceProcesses, plane.transport)
      .list({}, { timeoutMs: 2000 })
      .then(
        () => undefined,
        (cause: unknown) => ConnectError.from(cause),
      );
    // Its own channel takes the token and waits for a workspace that it never has; the other's does not take the token.
    expect(error?.code).toBe(through === "its own channel" ? Code.DeadlineExceeded : Code.Unauthenticated);
  });

  it("has a channel that reaches neither the other's guest, console, monitor nor node agent", () => {
    const uid = me().channelUid;
    const { id, workspace } = other();
    expect(uid).not.toBe(other().channelUid);
    const vm = join(run, "t", id, "vm");
    expect(as(uid, listing(vm))).toBe("EACCES");
    expect(as(uid, connecting(join(vm, workspace.id, "guest.sock")))).toBe("EACCES");
    expect(as(uid, reading(join(vm, workspace.id, "console.log")))).toBe("EACCES");
    expect(as(uid, connecting(join(run, "t", id, "admin/channel.sock")))).toBe("EACCES");
    expect(as(uid, connecting(join(run, "m", id, `${workspace.id}.qmp`)))).toBe("EACCES");
    for (const tenant of [id, me().id])
      expect(as(uid, connecting(join(run, "node", tenant, "node.sock")))).toBe("EACCES");
    expect(as(uid, listing(join(stack.home, "client", id)))).toBe("EACCES");
    expect(as(uid, listing(join(stack.home, "host")))).toBe("EACCES");
    expect(as(uid, listing(join(stack.home, "control")))).toBe("EACCES");
    // The check itself can succeed: its own guest's folder.
    expect(as(uid, listing(join(run, "t", me().id, "vm")))).toBe("done");
  });

  it("has a VMM with a uid of its own, which reaches neither the other's disk nor its processes", () => {
    const uid = me().vmUid;
    expect(uid).not.toBe(other().vmUid);
    expect([me().channelUid, other().channelUid]).not.toContain(uid);
    expect(as(uid, reading(join(stack.home, "vms", other().workspace.id, "overlay.ext4")))).toBe("EACCES");
    expect(as(uid, listing(join(run, "t", other().id, "vm")))).toBe("EACCES");
    expect(as(uid, listing(join(run, "t", me().id, "vm")))).toBe("EACCES");
    expect(as(uid, killing(other().vmmPid))).toBe("EPERM");
    expect(as(uid, listing(`/proc/${other().vmmPid}/root/`))).toBe("EACCES");
  });

  it("has its VMM in namespaces of its own", () => {
    for (const kind of ["mnt", "net", "pid", "ipc", "uts"]) {
      const of = (tenant: Tenant) =>
        execFileSync("readlink", [`/proc/${tenant.vmmPid}/ns/${kind}`], { encoding: "utf8" });
      expect(of(me())).not.toBe(of(other()));
    }
  });

  it("reads its own events, and none of the other's", async () => {
    const name = mine === "first" ? "local" : "second";
    const events = (await stack.must(["--tenant", name, "events", "--json"])).stdout;
    expect(events).toContain(me().workspace.id);
    expect(events).not.toContain(other().workspace.id);
  });
});

async function post(control: string, path: string, token: string, body: unknown): Promise<number> {
  const { request } = await import("node:http");
  return await new Promise((done, fail) => {
    const socketPath = control.slice("unix:".length);
    const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
    const call = request({ socketPath, path, method: "POST", headers }, (answer) => {
      answer.resume();
      done(answer.statusCode ?? 0);
    });
    call.on("error", fail);
    call.end(JSON.stringify(body));
  });
}
