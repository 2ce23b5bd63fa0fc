import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createIpcClient, type IpcError, maxFrameBytes, serveIpc } from "./index.ts";

const text = {
  parse(value: unknown): string {
    if (typeof value !== "string") throw new TypeError("a text is needed");
    return value;
  },
};
const contract = { echo: { request: text, response: text }, wait: { request: text, response: text } } as const;

let folder: string;
let path: string;
let server: AsyncDisposable;
let aborted = 0;

async function serve(): Promise<AsyncDisposable> {
  return serveIpc({
    path,
    contract,
    maxInFlight: 4,
    handlers: {
      echo: async (request) => request,
      wait: (_, signal) =>
        new Promise((resolve) =>
          signal.addEventListener("abort", () => {
            aborted++;
            resolve("aborted");
          }),
        ),
    },
  });
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "exai-ipc-"));
  path = join(folder, "s.sock");
  aborted = 0;
  server = await serve();
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** Sends raw bytes and returns what came back until the server closed, or 300 ms. */
async function raw(bytes: string | Buffer): Promise<{ answer: string; closed: boolean }> {
  const socket = connect(path);
  let answer = "";
  let closed = false;
  socket.on("data", (chunk) => {
    answer += chunk.toString();
  });
  socket.on("close", () => {
    closed = true;
  });
  socket.on("error", () => undefined);
  socket.write(bytes);
  await new Promise((done) => setTimeout(done, 300));
  socket.destroy();
  return { answer, closed };
}

describe("ipc", () => {
  it("answers many calls at once, more than it takes at a time", async () => {
    using client = createIpcClient(path, contract);
    const all = await Promise.all(Array.from({ length: 50 }, (_, n) => client.call("echo", `${n}`)));
    expect(all).toEqual(Array.from({ length: 50 }, (_, n) => `${n}`));
  });

  it("is open to its owner only, from the first instant", () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("refuses what is not of the contract, and says so", async () => {
    const unknown = await raw(`{"id":1,"method":"constructor","params":"x"}\n`);
    expect(unknown.answer).toContain("there is no method 'constructor'");
    const wrong = await raw(`{"id":2,"method":"echo","params":7}\n`);
    expect(wrong.answer).toContain("a text is needed");
  });

  it("cuts off a peer that breaks the framing or sends without end", async () => {
    expect((await raw("nonsense\n")).closed).toBe(true);
    expect((await raw(Buffer.alloc(maxFrameBytes + 2, "x"))).closed).toBe(true);
  });

  it("stops reading from a peer that asks and does not read, and answers all when it does", async () => {
    const asked = 50_000;
    const socket = connect(path);
    socket.pause();
    for (let id = 0; id < asked; id++) socket.write(`{"id":${id},"method":"echo","params":"not read yet"}\n`);
    // What lies in the kernel's buffers is bounded, too: the most of it stays with who asked.
    let before = -1;
    for (let now = -2; now !== before; await sleep(200))
      [before, now] = [now, socket.bytesWritten - socket.writableLength];
    expect(socket.writableLength).toBeGreaterThan(1 << 20);
    let answers = 0;
    socket.on("data", (chunk: Buffer) => {
      for (const byte of chunk) if (byte === 10) answers++;
    });
    socket.resume();
    await expect.poll(() => answers, { timeout: 10_000 }).toBe(asked);
    socket.destroy();
  });

  it("takes only so many bytes of requests that are not answered", async () => {
    const large = "x".repeat(maxFrameBytes - 100);
    // More than the number of requests alone would let wait.
    await server[Symbol.asyncDispose]();
    let waiting = 0;
    server = await serveIpc({
      path,
      contract: { wait: contract.wait },
      maxInFlight: 1000,
      handlers: {
        wait: (_, signal) => {
          waiting++;
          return new Promise((resolve) => signal.addEventListener("abort", () => resolve("")));
        },
      },
    });
    const socket = connect(path).on("error", () => undefined);
    for (let id = 0; id < 100; id++) socket.write(`{"id":${id},"method":"wait","params":"${large}"}\n`);
    await expect.poll(() => waiting, { timeout: 5000 }).toBeGreaterThanOrEqual(32);
    await sleep(300);
    expect(waiting).toBeLessThan(40);
    socket.destroy();
  });

  it("takes only so many connections", async () => {
    const sockets = Array.from({ length: 70 }, () => connect(path).on("error", () => undefined));
    await expect.poll(() => sockets.filter(({ closed }) => closed).length).toBe(6);
    for (const each of sockets) each.destroy();
    using client = createIpcClient(path, contract);
    await expect.poll(() => client.call("echo", "again").catch(() => "")).toBe("again");
  });

  it("tells a handler when its caller is gone", async () => {
    const client = createIpcClient(path, contract);
    const call = client.call("wait", "x").catch((error: IpcError) => error.code);
    await new Promise((done) => setTimeout(done, 50));
    client[Symbol.dispose]();
    expect(await call).toBe("closed");
    await expect.poll(() => aborted).toBe(1);
  });

  it("fails calls of a lost server at once, and reaches the next one", async () => {
    using client = createIpcClient(path, contract);
    const call = client.call("wait", "x").catch((error: IpcError) => error.code);
    await new Promise((done) => setTimeout(done, 50));
    await server[Symbol.asyncDispose]();
    expect(await call).toBe("closed");
    await expect(client.call("echo", "y")).rejects.toMatchObject({ code: "connect" });
    server = await serve();
    expect(await client.call("echo", "z")).toBe("z");
  });

  it("gives up after the time given", async () => {
    using client = createIpcClient(path, contract);
    await expect(client.call("wait", "x", { timeoutMs: 50 })).rejects.toMatchObject({ code: "timeout" });
  });
});
