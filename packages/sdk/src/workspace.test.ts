import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Client, type Workspace } from "./index.ts";
import { type StackDouble, startStack } from "./testing/stack.double.ts";

describe("a workspace, against doubles of control and data plane", () => {
  let stack: StackDouble;
  let client: Client;
  let workspace: Workspace;

  beforeAll(async () => {
    stack = await startStack();
    client = await Client.open({ home: stack.home, actor: "tester" });
    workspace = await client.workspaces.create({ image: stack.image, name: "one", labels: { team: "core" } });
  });
  afterAll(async () => {
    await client[Symbol.asyncDispose]();
    await stack[Symbol.asyncDispose]();
  });

  it("runs a program and keeps its streams apart", async () => {
    const result = await workspace.run(["sh", "-c", "echo out; echo err >&2; exit 3"]);
    expect([result.code, result.stdout.toString(), result.stderr.toString()]).toEqual([3, "out\n", "err\n"]);
  });

  it("passes input, environment and folder", async () => {
    const result = await workspace.run(["sh", "-c", "cat; echo $A; pwd"], {
      input: "in\n",
      env: { A: "x y" },
      cwd: "/tmp",
    });
    expect(result.stdout.toString()).toBe("in\nx y\n/tmp\n");
  });

  it("sends large input whole, in slices, with back-pressure", async () => {
    const input = Buffer.alloc(3_000_000, "abcdefghij");
    const result = await workspace.run(["sh", "-c", "sleep 0.2; md5sum; wc -c"], { input });
    expect(result.stdout.toString()).toMatch(/^[0-9a-f]{32} {2}-\n0\n$/);
  });

  it("tells a missing program from one that failed", async () => {
    await expect(workspace.run(["/no/such/program"])).rejects.toMatchObject({ code: "not-found" });
    await expect(workspace.run([])).rejects.toMatchObject({ code: "invalid" });
    await expect(workspace.run(["a\0b"])).rejects.toMatchObject({ code: "invalid" });
  });

  it("gives a signal and a time limit back", async () => {
    const execution = await workspace.exec(["sleep", "60"]);
    await execution.signal("TERM");
    expect((await execution.wait()).signal).toBe(15);
    expect((await workspace.run(["sleep", "60"], { timeoutMs: 100 })).timedOut).toBe(true);
  });

  it("streams by iteration", async () => {
    await using execution = await workspace.exec(["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.05; done"]);
    const parts: string[] = [];
    for await (const data of execution.stdout) parts.push(Buffer.from(data).toString());
    expect(parts.join("")).toBe("1\n2\n3\n");
    expect(parts.length).toBeGreaterThan(1);
  });

  it("loses and doubles no byte when connections break, nor when the channel moves", async () => {
    const script =
      "i=0; while [ $i -lt 3000 ]; do echo line $i; echo err $i >&2; i=$((i+1)); [ $((i % 100)) = 0 ] && sleep 0.02; done";
    const got = { stdout: "", stderr: "" };
    const execution = await workspace.exec(["sh", "-c", script], {
      onOutput: (stream, data) => {
        got[stream] += Buffer.from(data).toString();
      },
    });
    setTimeout(() => stack.channel.dropConnections(), 100);
    setTimeout(() => stack.channel.dropConnections(), 250);
    const moved = new Promise<void>((resolve) => setTimeout(() => resolve(stack.restartChannel()), 400));
    const status = await execution.wait();
    await moved;
    expect(status.code).toBe(0);
    expect(got.stdout).toBe(Array.from({ length: 3000 }, (_, i) => `line ${i}\n`).join(""));
    expect(got.stderr).toBe(Array.from({ length: 3000 }, (_, i) => `err ${i}\n`).join(""));
    expect(execution.lostBytes).toEqual({ stdout: 0n, stderr: 0n });
  });

  it("attaches again from an offset, and writes on", async () => {
    const first = await workspace.exec(["cat"], { stdin: true });
    await first.write("hello ");
    first.detach();
    const got: string[] = [];
    const second = await workspace.attach(first.id, {
      onOutput: (_stream, data) => void got.push(Buffer.from(data).toString()),
    });
    await second.write("again\n");
    await second.closeStdin();
    expect((await second.wait()).code).toBe(0);
    expect(got.join("")).toBe("hello again\n");
    expect(await first.waitOrDetach()).toBeUndefined();
  });

  it("a loop that is left ends its call", async () => {
    await using execution = await workspace.exec(["sh", "-c", "yes | head -c 3000000; sleep 30"]);
    for await (const _data of execution.stdout) break;
    execution.detach();
    await workspace.files.write("/tmp/big", Buffer.alloc(8_000_000));
    for await (const _data of workspace.files.readStream("/tmp/big")) break;
    for (let tries = 0; stack.channel.calls.size > 0 && tries < 100; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect([...stack.channel.calls]).toEqual([]);
  });

  it("lists programs", async () => {
    await using _execution = await workspace.exec(["sleep", "5"], { tag: "nap" });
    const all = await workspace.processes();
    const entry = all.find((each) => each.tag === "nap");
    expect(entry).toMatchObject({ argv: ["sleep", "5"], attached: 1, exited: undefined });
  });

  it("takes name and labels from its own signature", async () => {
    stack.control.lie = (record) => ({ ...record, name: "other", labels: {} });
    const found = await client.workspaces.get(workspace.id);
    expect([found.name, found.spec.labels]).toEqual(["one", { team: "core" }]);
    await expect(client.workspaces.get("other")).rejects.toMatchObject({ code: "not-found" });
    expect((await client.workspaces.get("one")).id).toBe(workspace.id);
    expect((await client.workspaces.get(workspace.id.slice(0, 4))).id).toBe(workspace.id);
    stack.control.lie = (record) => record;
  });

  it("refuses a workspace whose creation it did not sign", async () => {
    const other = await client.workspaces.create({ image: stack.image });
    stack.control.lie = (record) => ({ ...record, intent: other.record.intent });
    await expect(client.workspaces.get(workspace.id)).rejects.toMatchObject({ code: "forged" });
    stack.control.lie = (record) => ({ ...record, intent: `${record.intent.slice(0, -4)}AAAA` });
    await expect(client.workspaces.get(workspace.id)).rejects.toMatchObject({ code: "forged" });
    stack.control.lie = (record) => record;
    await other.destroy();
  });

  it("speaks to no host but the pinned one", async () => {
    await using impostor = await startStack();
    stack.control.lie = (record) => ({
      ...record,
      endpoint: { host: stack.control.host, url: impostor.control.url },
    });
    const redirected = await client.workspaces.get(workspace.id);
    await expect(redirected.run(["true"])).rejects.toMatchObject({ code: "forged" });
    stack.control.lie = (record) => ({
      ...record,
      endpoint: { host: impostor.control.host, url: impostor.control.url },
    });
    await expect((await client.workspaces.get(workspace.id)).run(["true"])).rejects.toMatchObject({ code: "forged" });
    stack.control.lie = (record) => record;
  });

  it("says why a boot failed, at once", async () => {
    stack.control.boot = { phase: "failed", message: "the kernel did not start", afterMs: 50 };
    const broken = await client.workspaces.create({ image: stack.image });
    await expect(broken.ready()).rejects.toThrow(/failed: the kernel did not start/);
    stack.control.boot = { phase: "running", afterMs: 0 };
  });

  it("one caller's signal or time does not end another's wait for the same boot", async () => {
    stack.control.boot = { phase: "running", afterMs: 600 };
    const slow = await client.workspaces.create({ image: stack.image });
    const stop = new AbortController();
    const first = slow.exec(["true"], { signal: stop.signal });
    const second = slow.run(["true"]);
    const third = slow.ready({ timeoutMs: 100 });
    setTimeout(() => stop.abort(), 50);
    await expect(first).rejects.toMatchObject({ code: "cancelled" });
    await expect(third).rejects.toMatchObject({ code: "timeout" });
    expect((await second).code).toBe(0);
    await slow.ready();
    stack.control.boot = { phase: "running", afterMs: 0 };
    await slow.destroy();
  });

  it("stops, starts and destroys", async () => {
    const other = await client.workspaces.create({ image: stack.image, name: "two" });
    await other.ready();
    await other.stop();
    expect(other.phase).toBe("stopped");
    await expect((await client.workspaces.get("two")).run(["true"])).rejects.toMatchObject({ code: "not-running" });
    await other.start();
    expect((await other.run(["true"])).code).toBe(0);
    await expect(client.workspaces.create({ image: stack.image, name: "two" })).rejects.toMatchObject({
      code: "conflict",
    });
    await other.destroy();
    await expect(client.workspaces.get("two")).rejects.toMatchObject({ code: "not-found" });
  });

  it("refuses a spec that is out of range before anything is sent", async () => {
    const before = stack.control.records.size;
    await expect(client.workspaces.create({ image: stack.image, memoryMib: 1 })).rejects.toThrow(/memoryMib/);
    await expect(client.workspaces.create({ image: stack.image, name: "a\nb" })).rejects.toMatchObject({
      code: "invalid",
    });
    expect(stack.control.records.size).toBe(before);
  });
});
