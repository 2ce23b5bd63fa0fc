import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { Code } from "@connectrpc/connect";
import { channelContract } from "@exai/api/host";
import { createIpcClient } from "@exai/ipc";
import { expect, test } from "vitest";
import { Stand } from "../testing/stand.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text);

test("on a full disk nothing is granted, and what contains still works", async () => {
  const disk = mkdtempSync(join(tmpdir(), "exai-disk-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=2048k", "exai-test", disk]);
  try {
    await using stand = await (await Stand.make({ spoolFolder: disk })).start();
    const { workspace, double } = await stand.guest();
    const { processes, files } = stand.client(workspace);
    await processes.start({ argv: [bytes("true")] });
    for (let size = 1 << 20; size >= 1; size >>= 1) {
      try {
        for (;;) writeFileSync(join(disk, "ballast"), Buffer.alloc(size), { flag: "a" });
      } catch (error) {
        expect(error).toMatchObject({ code: "ENOSPC" });
      }
    }
    // The last block of the segment still takes a few.
    await expect
      .poll(() => processes.start({ argv: [bytes("x".repeat(4000))] }).catch((error: unknown) => error))
      .toMatchObject({ code: Code.ResourceExhausted });
    const before = double.calls.length;
    for (const call of [
      processes.start({ argv: [bytes("x".repeat(4000))] }),
      files.remove({ path: bytes("/x".repeat(2000)) }),
    ]) {
      await expect(call).rejects.toMatchObject({ code: Code.ResourceExhausted });
    }
    expect(double.calls.length).toBe(before);
    for (let at = 0; at < 50; at++) await processes.signal({ process: 1n, signal: 9 });
    await processes.detach({ process: 1n });
    await processes.closeStdin({ process: 1n });
    expect(double.calls.length).toBe(before + 52);
    rmSync(join(disk, "ballast"));
    await processes.start({ argv: [bytes("true")] });
  } finally {
    execFileSync("umount", [disk]);
    rmSync(disk, { recursive: true, force: true });
  }
});

test("an upload that the guest refuses early gets its status, not a broken stream", async () => {
  await using stand = await (await Stand.make()).start();
  const { workspace } = await stand.guest();
  const { files } = stand.client(workspace);
  async function* endless() {
    yield { frame: { case: "open" as const, value: { path: bytes("") } } };
    for (;;) yield { frame: { case: "data" as const, value: new Uint8Array(64 << 10) } };
  }
  await expect(files.write(endless())).rejects.toMatchObject({ code: Code.InvalidArgument });
  expect(await files.mkdir({ path: bytes("/a") })).toBeDefined();
});

test("a connection that shows no token is closed, and no number of them keeps out who has one", async () => {
  await using stand = await (await Stand.make()).start();
  const { workspace } = await stand.guest();
  const strangers = Array.from({ length: 70 }, () => connectHttp2(stand.url, { ca: stand.ca, servername: stand.name }));
  let closed = 0;
  for (const each of strangers) {
    each.on("error", () => undefined);
    each.on("close", () => closed++);
  }
  await expect.poll(() => closed, { timeout: 9_000 }).toBeGreaterThanOrEqual(6);
  expect(closed).toBeLessThan(70);
  expect(await stand.client(workspace).workspace.ready({})).toBeDefined();
  await expect.poll(() => closed, { timeout: 15_000 }).toBe(70);
});

test("older TLS, other protocols and too long headers get nowhere", async () => {
  await using stand = await (await Stand.make()).start();
  const { port } = new URL(stand.url);
  const handshake = async (options: object): Promise<string> =>
    new Promise((resolve) => {
      const socket = connectTls({
        port: Number(port),
        host: "127.0.0.1",
        ca: stand.ca,
        servername: stand.name,
        ...options,
      });
      socket.on("secureConnect", () => {
        resolve(`connected ${socket.alpnProtocol}`);
        socket.destroy();
      });
      socket.on("error", () => resolve("refused"));
      socket.on("close", () => resolve("refused"));
    });
  expect(await handshake({ maxVersion: "TLSv1.2", ALPNProtocols: ["h2"] })).toBe("refused");
  expect(await handshake({ ALPNProtocols: ["http/1.1"] })).toBe("refused");
  expect(await handshake({ ALPNProtocols: ["h2"] })).toBe("connected h2");
  const session = connectHttp2(stand.url, { ca: stand.ca, servername: stand.name });
  // The limit holds from the client's acknowledgement on.
  await once(session, "remoteSettings");
  await new Promise((resolve) => session.ping(resolve));
  const stream = session.request({ ":method": "POST", ":path": "/x", long: "x".repeat(40_000) });
  stream.on("error", () => undefined);
  session.on("error", () => undefined);
  await expect(once(stream, "response")).rejects.toThrow("ENHANCE_YOUR_CALM");
  session.destroy();
});

/** The process itself, started as the supervisor does. */
async function startProcess(stand: Stand) {
  const main = join(import.meta.dirname, "main.ts");
  const env = { PATH: process.env.PATH, MALLOC_ARENA_MAX: "1", MALLOC_MMAP_THRESHOLD_: "65536" };
  const child = spawn(process.execPath, ["--max-semi-space-size=2", main], { stdio: ["pipe", "pipe", "pipe"], env });
  child.stderr.resume();
  child.stdin.on("error", () => undefined);
  child.stdin.write(`${JSON.stringify(stand.config)}\n`);
  const broker = createIpcClient(stand.config.adminSocket, channelContract);
  const url = async (): Promise<string> => (await broker.call("hello", {}).catch(() => ({ url: "" }))).url;
  await expect.poll(url, { timeout: 10_000 }).toMatch(/^https:/);
  stand.channel = { url: await url() } as typeof stand.channel;
  return {
    child,
    [Symbol.dispose]() {
      broker[Symbol.dispose]();
      child.kill("SIGKILL");
    },
  };
}

/** What it has written itself: its share of Node's own pages grows when another test's Node ends. */
const ownMib = (pid: number): number =>
  Number(/^Private_Dirty:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]) / 1024;

test("the process serves, holds back a flood that nobody reads, and ends with its supervisor", async () => {
  await using stand = await Stand.make();
  using channel = await startProcess(stand);
  const { workspace, double } = await stand.guest();
  const { processes } = stand.client(workspace);
  expect((await Array.fromAsync(processes.run({ argv: [bytes("true")] }))).length).toBe(2);
  expect(statSync(stand.config.adminSocket).mode & 0o777).toBe(0o660);
  const pid = channel.child.pid ?? 0;
  const before = ownMib(pid);
  expect(before).toBeLessThan(64);

  const streams = Array.from({ length: 20 }, () => processes.run({ argv: [bytes("flood")] })[Symbol.asyncIterator]());
  for (const stream of streams) await stream.next();
  let held = -1;
  while (held !== double.sentBytes) {
    held = double.sentBytes;
    await delay(1000);
  }
  expect(held).toBeLessThan(20 * (4 << 20));
  expect(ownMib(pid) - before).toBeLessThan(32);
  channel.child.stdin.end();
  const [code] = await once(channel.child, "exit");
  expect(code).toBe(0);
  for (const stream of streams)
    await expect(
      (async () => {
        for (;;) if ((await stream.next()).done) return;
      })(),
    ).rejects.toBeDefined();
});

test("the process says what is wrong with its configuration, without repeating it", async () => {
  const child = spawn(process.execPath, [join(import.meta.dirname, "main.ts")], { stdio: ["pipe", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  child.stdin.write('{"privateKey":"very secret"}\n');
  const [code] = await once(child, "close");
  expect(code).toBe(1);
  expect(said).toContain("configuration on standard input is not valid");
  expect(said).not.toContain("very secret");
});

test("a folder that comes and goes, and is no workspace's, disturbs nobody", async () => {
  await using stand = await (await Stand.make()).start();
  mkdirSync(join(stand.folder, "vm", "not-an-id"));
  const { workspace } = await stand.guest();
  expect(await stand.client(workspace).workspace.ready({})).toBeDefined();
  expect(stand.channel?.sessions.size).toBe(1);
  rmSync(join(stand.folder, "vm", workspace), { recursive: true });
});
