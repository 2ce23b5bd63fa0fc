import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { channelContract } from "@exai/api/host";
import { openEvent, readSpool } from "@exai/audit";
import { newWorkspaceId } from "@exai/base";
import { createIpcClient } from "@exai/ipc";
import { expect, test } from "vitest";
import { Stand } from "../testing/stand.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text);

/** Events of the channel's spool, opened. */
async function witnessed(stand: Stand) {
  await delay(30); // containing events are not waited for
  const items = await Array.fromAsync(readSpool(join(stand.config.spoolFolder, "channel")));
  return items.map((item) => {
    if (item.kind !== "event") throw new Error("no event");
    const place = { tenant: stand.tenant, writer: "channel", sequence: item.sequence };
    return openEvent(stand.logKey, place, item.payload);
  });
}

test("runs a program, moves files, forwards a port, and witnesses each call", async () => {
  await using stand = await (await Stand.make()).start();
  const { workspace, double } = await stand.guest();
  const client = stand.client(workspace);

  const output = await Array.fromAsync(
    client.processes.run({
      argv: [bytes("echo"), bytes("hello")],
      env: [{ name: bytes("KEY"), value: bytes("sesame") }],
    }),
  );
  expect(output.map(({ event }) => event.case)).toEqual(["started", "stdout", "exited"]);
  const started = await client.processes.start({ argv: [bytes("true")] });
  const again = await Array.fromAsync(client.processes.attach({ process: started.process }));
  expect(again.length).toBe(3);
  await client.processes.sendInput({ process: started.process, offset: 0n, data: bytes("secret input") });
  await client.processes.sendInput({ process: started.process, offset: 12n, data: bytes("more") });
  await client.processes.signal({ process: started.process, signal: 15, group: true });

  async function* upload() {
    yield { frame: { case: "open" as const, value: { path: bytes("/a b"), context: { user: "root" } } } };
    for (let at = 0; at < 8; at++) yield { frame: { case: "data" as const, value: new Uint8Array(64 << 10).fill(at) } };
  }
  expect((await client.files.write(upload())).sizeBytes).toBe(524_288n);
  const chunks = await Array.fromAsync(client.files.read({ path: bytes("/a b") }));
  expect(Buffer.concat(chunks.map((chunk) => chunk.data)).equals(double.files.get("/a b") ?? Buffer.alloc(0))).toBe(
    true,
  );

  async function* frames() {
    yield { frame: { case: "connect" as const, value: { port: 8080 } } };
    yield { frame: { case: "data" as const, value: bytes("ping") } };
  }
  const echoed = await Array.fromAsync(client.ports.connect(frames()));
  expect(echoed.map(({ frame }) => frame.case)).toEqual(["connected", "data"]);

  expect((await client.workspace.ready({})).guest?.kernelRelease).toBe("6.1.0-double");
  expect((await client.workspace.metrics({})).processes).toBe(3);
  expect(double.hostname).toBe(workspace);
  expect(double.entropyBytes).toBe(64);

  const events = await witnessed(stand);
  expect(events.map((event) => `${event.action} ${event.target}`)).toEqual([
    "spool.open channel",
    "process.start echo",
    "process.start true",
    `process.attach ${started.process}`,
    `process.input ${started.process}`,
    `process.signal ${started.process}`,
    "file.write /a b",
    "file.read /a b",
    "port.connect 8080",
  ]);
  expect(events[1]).toMatchObject({
    actor: "tester",
    workspace,
    outcome: "ok",
    detail: { argv: ["echo", "hello"], env: ["KEY"] },
  });
  expect(events[6]?.detail).toMatchObject({ user: "root" });
  // Each but the first is tied to the signed token that allowed it.
  for (const { detail } of events.slice(1)) expect(detail?.["token"]).toMatch(/^[0-9a-f-]{36}$/);
  const all = JSON.stringify(events);
  for (const secret of ["sesame", "secret input"]) expect(all).not.toContain(secret);
});

test("the guest's statuses come through, cleaned; those that it must not use become DATA_LOSS", async () => {
  await using stand = await (await Stand.make()).start();
  const { workspace } = await stand.guest();
  const { processes, files } = stand.client(workspace);
  const failure = async (promise: Promise<unknown>) =>
    ConnectError.from(
      await promise.then(
        () => undefined,
        (error: unknown) => error,
      ),
    );
  const missing = await failure(Array.fromAsync(processes.run({ argv: [bytes("fail")] })));
  expect([missing.code, missing.rawMessage]).toEqual([Code.NotFound, "no such [2J program"]);
  expect((await failure(Array.fromAsync(processes.run({ argv: [bytes("leak")] })))).code).toBe(Code.DataLoss);
  expect((await failure(files.stat({ path: bytes("/none") }))).code).toBe(Code.NotFound);
  async function* empty() {}
  expect((await failure(files.write(empty()))).code).toBe(Code.InvalidArgument);
});

test("a client that goes away ends the guest's stream", async () => {
  await using stand = await (await Stand.make()).start();
  const { workspace, double } = await stand.guest();
  const { processes } = stand.client(workspace);
  const abort = new AbortController();
  const stream = processes.run({ argv: [bytes("sleep")] }, { signal: abort.signal })[Symbol.asyncIterator]();
  await stream.next();
  const next = stream.next();
  abort.abort();
  await expect(next).rejects.toMatchObject({ code: Code.Canceled });
  await expect.poll(() => double.cancelled).toBe(1);
});

test("a caller's deadline ends the wait", async () => {
  await using stand = await (await Stand.make()).start();
  const { workspace } = await stand.guest();
  const { processes } = stand.client(workspace);
  await expect(processes.wait({ process: 1n }, { timeoutMs: 200 })).rejects.toMatchObject({
    code: Code.DeadlineExceeded,
  });
});

test("a slow reader holds the guest back", async () => {
  await using stand = await (await Stand.make()).start();
  const { workspace, double } = await stand.guest();
  const { processes } = stand.client(workspace);
  const stream = processes.run({ argv: [bytes("flood")] })[Symbol.asyncIterator]();
  await stream.next();
  await stream.next();
  let held = -1;
  while (held !== double.sentBytes) {
    held = double.sentBytes;
    await delay(500);
  }
  expect(held).toBeLessThan(8 << 20);
  for (let at = 0; at < 400; at++) await stream.next();
  expect(double.sentBytes).toBeGreaterThan(held);
});

test("a call made before the VM exists waits for it; without one it says so", async () => {
  await using stand = await (await Stand.make()).start();
  const workspace = newWorkspaceId();
  const client = stand.client(workspace);
  const ready = client.workspace.ready({ timeoutMs: 5000 });
  const run = Array.fromAsync(client.processes.run({ argv: [bytes("true")] }));
  await delay(200);
  const { double } = await stand.guest(workspace);
  expect((await ready).waitedMs).toBeGreaterThan(150);
  expect((await run).length).toBe(2);
  expect(double.calls).toContain("exai.guest.v1.Processes/Run");

  const absent = stand.client(newWorkspaceId());
  await expect(absent.workspace.ready({ timeoutMs: 100 })).rejects.toMatchObject({ code: Code.Unavailable });
  await expect(absent.processes.list({}, { timeoutMs: 200 })).rejects.toMatchObject({ code: Code.DeadlineExceeded });
});

test("a guest that comes back after its VMM died is used again", async () => {
  await using stand = await (await Stand.make()).start();
  const { workspace, double } = await stand.guest();
  const { processes } = stand.client(workspace);
  const stream = processes.run({ argv: [bytes("sleep")] })[Symbol.asyncIterator]();
  await stream.next();
  const end = stream.next();
  double.cut();
  await expect(end).rejects.toMatchObject({ code: Code.Unavailable });
  expect((await Array.fromAsync(processes.run({ argv: [bytes("true")] }))).length).toBe(2);
});

test("the console is read over a turn of its ring and followed", async () => {
  await using stand = await (await Stand.make()).start();
  const workspace = newWorkspaceId();
  const folder = join(stand.folder, "vm", workspace);
  mkdirSync(folder);
  writeFileSync(join(folder, "console.log.1"), "old\n");
  writeFileSync(join(folder, "console.log"), "new\n");
  const { workspace: service } = stand.client(workspace);
  const read = async () =>
    Buffer.concat((await Array.fromAsync(service.console({}))).map(({ data }) => data)).toString();
  await expect.poll(read).toBe("old\nnew\n");

  const abort = new AbortController();
  let seen = "";
  const following = (async () => {
    for await (const { data } of service.console({ follow: true }, { signal: abort.signal }))
      seen += Buffer.from(data).toString();
  })().catch(() => undefined);
  await expect.poll(() => seen).toBe("old\nnew\n");
  writeFileSync(join(folder, "console.log"), "more\n", { flag: "a" });
  await expect.poll(() => seen).toBe("old\nnew\nmore\n");
  abort.abort();
  await following;
});

test("the tenant reads all writers' sealed events, and follows", async () => {
  await using stand = await (await Stand.make()).start();
  const { workspace } = await stand.guest();
  const client = stand.client(workspace);
  await client.files.mkdir({ path: bytes("/one") });
  const tenantWide = stand.client(undefined, { scope: ["events"] });
  const open = (event: { writer: string; sequence: bigint; sealed: Uint8Array }) =>
    openEvent(
      stand.logKey,
      { tenant: stand.tenant, writer: event.writer, sequence: Number(event.sequence) },
      event.sealed,
    );
  const abort = new AbortController();
  const actions: string[] = [];
  const following = (async () => {
    for await (const event of tenantWide.workspace.events({ follow: true }, { signal: abort.signal })) {
      actions.push(open(event).action);
    }
  })().catch(() => undefined);
  await expect.poll(() => actions).toEqual(["spool.open", "file.mkdir", "events.read"]);
  await client.files.mkdir({ path: bytes("/two") });
  await expect.poll(() => actions.length).toBe(4);
  abort.abort();
  await following;
  const last = await Array.fromAsync(tenantWide.workspace.events({ last: 2 }));
  expect(last.map((event) => open(event).action)).toEqual(["file.mkdir", "events.read"]);
});

test("the broker asks over its socket", async () => {
  await using stand = await (await Stand.make()).start();
  const { workspace, double } = await stand.guest();
  using broker = createIpcClient(stand.config.adminSocket, channelContract);
  expect(await broker.call("awaitReady", { workspace, timeoutMs: 5000 })).toMatchObject({ agentVersion: "double" });
  expect((await broker.call("hello", {})).url).toBe(stand.url);
  await broker.call("shutdown", { workspace, graceMs: 10 });
  expect(double.calls).toContain("exai.guest.v1.Machine/Shutdown");
  const nobody = { workspace: newWorkspaceId(), timeoutMs: 100 };
  await expect(broker.call("awaitReady", nobody)).rejects.toMatchObject({ remoteCode: "no-vm" });
});

test("nothing of the tenant's reaches the operator's log or the spool in clear", async () => {
  await using stand = await (await Stand.make()).start();
  const { workspace } = await stand.guest();
  await Array.fromAsync(
    stand.client(workspace).processes.run({ argv: [bytes("echo"), bytes("marker-of-the-tenant")] }),
  );
  expect(stand.logLines.join("")).not.toContain("marker-of-the-tenant");
  for (const file of ["seg-0000000000000001.spool", "reserve.spool"]) {
    expect(readFileSync(join(stand.config.spoolFolder, "channel", file)).includes("marker")).toBe(false);
  }
});
