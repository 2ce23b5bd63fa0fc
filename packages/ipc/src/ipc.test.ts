import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
