import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectQmp } from "./qmp.ts";

let folder: string;
let next = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-qmp-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A QEMU in a guest's hands: it greets, and answers what comes after the handshake as it likes. */
async function stopping(answer: (socket: Socket, id: number) => void): Promise<unknown> {
  const path = join(folder, `q${next++}`);
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("error", () => undefined);
    socket.write('{"QMP":{}}\n');
    socket.on("data", (chunk: Buffer) => {
      const { execute, id } = JSON.parse(chunk.toString());
      if (execute === "qmp_capabilities") socket.write(`${JSON.stringify({ return: {}, id })}\n`);
      else answer(socket, id);
    });
  });
  await new Promise<void>((done) => server.listen(path, done));
  try {
    using qmp = await connectQmp(path);
    return await qmp.execute({ execute: "stop" }).catch((error: unknown) => error);
  } finally {
    for (const each of open) each.destroy();
    await new Promise((done) => server.close(done));
  }
}

const refusing =
  (error: unknown) =>
  (socket: Socket, id: number): void =>
    void socket.write(`${JSON.stringify({ error, id })}\n`);

test.each([
  ["control characters", { desc: "a\u001b]0;title\u0007\r\nb\u202ec" }, "QEMU refused: a ]0;title b c"],
  ["many words", { desc: "no ".repeat(9000) }, `QEMU refused: ${"no ".repeat(67).slice(0, 200).trim()}`],
  ["what is no text", { desc: { toString: 1 } }, "QEMU refused: it does not say why"],
  ["nothing", {}, "QEMU refused: it does not say why"],
])("a refusal with %s is one clear, short error", async (_, error, message) => {
  expect(await stopping(refusing(error))).toMatchObject({ code: "monitor", message });
});

test("events without end are cut off long before the time is over", async () => {
  const startedMs = performance.now();
  const error = await stopping((socket) => {
    const more = () => socket.write('{"event":"STOP"}\n'.repeat(1000), () => socket.destroyed || more());
    more();
  });
  expect(error).toMatchObject({ code: "monitor", message: "the monitor sends without end" });
  expect(performance.now() - startedMs).toBeLessThan(3000);
});
