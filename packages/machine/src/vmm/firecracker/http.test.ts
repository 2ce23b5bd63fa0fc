import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FirecrackerApi } from "./api.ts";

/** A process in a guest's hands behind the socket: it may send any bytes, at any pace. */
type Hostile = (socket: Socket) => void;
const timeoutMs = 400;
let folder: string;
let next = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-fc-http-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function facing<T>(hostile: Hostile, ask: (socketPath: string) => Promise<T>): Promise<T> {
  const socketPath = join(folder, `s${next++}`);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => undefined);
    socket.once("data", () => hostile(socket));
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  try {
    return await ask(socketPath);
  } finally {
    // Whatever came, the connection is given up with the answer.
    for (let wait = 0; wait < 100 && sockets.size > 0; wait++) await new Promise((done) => setTimeout(done, 10));
    const open = sockets.size;
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => server.close(done));
    expect(open).toBe(0);
  }
}

const says =
  (text: string): Hostile =>
  (socket) =>
    void socket.end(text);
const forever =
  (start: string, more: string, everyMs: number): Hostile =>
  (socket) => {
    socket.write(start);
    const timer = setInterval(() => socket.write(more), everyMs);
    socket.on("close", () => clearInterval(timer));
  };
const answer = (body: string, head = ""): string =>
  `HTTP/1.1 200 OK\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${head}\r\n${body}`;

const hostile: Record<string, Hostile> = {
  "nothing at all": () => undefined,
  "an end at once": (socket) => void socket.end(),
  "a connection that breaks": (socket) => void socket.destroy(),
  "no HTTP": says("SSH-2.0-hello\r\n"),
  "a handshake of TLS": says("\u0016\u0003\u0001\u0002\u0000\u0001"),
  "a header byte by byte": forever("HTTP/1.1 200 OK\r\nx: ", "a", 20),
  "a body byte by byte": forever("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", "1", 20),
  "chunks without an end": forever("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n1\r\n", 20),
  "a flood of small headers": says(`HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(50_000)}\r\n`),
  "one long header": says(`HTTP/1.1 200 OK\r\na: ${"b".repeat(1 << 20)}\r\n\r\n`),
  "a long reason": says(`HTTP/1.1 200 ${"x".repeat(1 << 20)}\r\n\r\n`),
  "'continue' for ever": forever("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(50), 5),
  "'continue', as fast as it is read": (socket) => {
    const more = () => socket.write("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), () => socket.destroyed || more());
    more();
  },
  "another protocol": says("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello"),
  "two lengths": says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"),
  "a length and chunks": says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
  "less than its length": says("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{"),
  "a body that is too long": says(answer(`"${"x".repeat(70_000)}"`)),
  "a terabyte, by its length": forever(
    "HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n",
    "x".repeat(65_536),
    1,
  ),
  "bytes that are no JSON": says(answer("\u0000\u001b[2J")),
  "compressed bytes": says(answer("\u001f\u008b\b", "content-encoding: gzip\r\n")),
  "a deep tree": says(answer("[".repeat(30_000) + "]".repeat(30_000))),
  "JSON of another shape": says(answer('{"firecracker_version":{"__proto__":1}}')),
};

test.each(Object.keys(hostile))("%s is one clear, short error in bounded time", async (name) => {
  const startMs = performance.now();
  const error = await facing(hostile[name] as Hostile, (path) => new FirecrackerApi(path, timeoutMs).version()).catch(
    (cause: unknown) => cause,
  );
  expect(error).toMatchObject({ code: "monitor", message: expect.stringMatching(/^Firecracker[\x20-\x7e]{10,150}$/) });
  expect((error as Error).message).toContain("GET /version");
  expect(performance.now() - startMs).toBeLessThan(timeoutMs + 1500);
});

test("who says as fast as it can that it goes on is not listened to until the time is over", async () => {
  const name = "'continue', as fast as it is read";
  const startMs = performance.now();
  const asked = facing(hostile[name] as Hostile, (path) => new FirecrackerApi(path, 10_000).version());
  await expect(asked).rejects.toThrow("Firecracker broke off at GET /version");
  expect(performance.now() - startMs).toBeLessThan(3000);
});

const fault = (body: unknown): Hostile => {
  const text = JSON.stringify(body);
  return says(`HTTP/1.1 400 Bad\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
};

test.each([
  ["many words", { fault_message: "no ".repeat(20_000) }, /^Firecracker refused PATCH \/vm: (no ){10,}/],
  [
    "control characters",
    { fault_message: "a\u001b]0;title\u0007\r\nb\u202ec\u0000" },
    /^Firecracker refused PATCH \/vm: a \]0;title b c$/,
  ],
  ["a number", { fault_message: 7 }, /^Firecracker gave an answer of another kind \(400\) to PATCH \/vm$/],
  ["no message", {}, /^Firecracker gave an answer of another kind \(400\) to PATCH \/vm$/],
  ["a list", [], /another kind \(400\)/],
] as const)("a refusal with %s", async (_, body, message) => {
  const error = await facing(fault(body), (path) => new FirecrackerApi(path).pause()).catch((cause: unknown) => cause);
  expect(error).toMatchObject({ code: "monitor", message: expect.stringMatching(message) });
  expect((error as Error).message.length).toBeLessThan(260);
});
