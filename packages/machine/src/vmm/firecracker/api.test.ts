import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { firecrackerLoad } from "@exai/api/host";
import { afterAll, afterEach, expect, test } from "vitest";
import { FirecrackerApi, loadBody } from "./api.ts";

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
const folder = mkdtempSync(join(tmpdir(), "exai-fc-api-"));
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let nextSocket = 0;
async function served(answer: Answer): Promise<FirecrackerApi> {
  const path = join(folder, `s${nextSocket++}`);
  const server = createServer((request, response) => {
    request.resume();
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return new FirecrackerApi(path);
}
const says = (status: number, text: string): Answer => {
  return (_, response) => void response.writeHead(status).end(text);
};

test("its own words for a refusal, without what they may hide", async () => {
  const api = await served(says(400, JSON.stringify({ fault_message: `no \u001b[2J\n${"x".repeat(5000)}` })));
  const error = await api.pause().catch((cause: Error) => cause);
  expect(error).toMatchObject({
    code: "monitor",
    message: expect.stringMatching(/^Firecracker refused PATCH \/vm: no +\[2J x+$/),
  });
  expect((error as Error).message.length).toBeLessThan(260);
});

const odd: Record<string, Answer> = {
  "no body where one belongs": says(200, ""),
  "garbled JSON": says(200, "{"),
  "another status": says(204, ""),
  "a version that is none": says(200, JSON.stringify({ firecracker_version: "one" })),
  "an endless body": (_, response) => {
    response.writeHead(200);
    const more = () => response.writable && response.write("x".repeat(65_536), more);
    more();
  },
  "an endless header": (_, response) => void response.writeHead(200, { x: "x".repeat(20_000) }).end("{}"),
  "an end in the middle": (_, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("{", () => response.destroy());
  },
  "an error without a reason": says(500, "[]"),
};
test.each(Object.keys(odd))("%s is one clear error", async (name) => {
  const api = await served(odd[name] as Answer);
  await expect(api.version()).rejects.toMatchObject({ code: "monitor", message: expect.stringContaining("/version") });
});

test("nobody there", async () => {
  await expect(new FirecrackerApi(join(folder, "none")).state()).rejects.toMatchObject({ code: "monitor" });
});

test("reads its version and state", async () => {
  const api = await served((request, response) => {
    const version = { firecracker_version: "1.12.1" };
    const instance = { id: "a", state: "Paused", vmm_version: "1.12.1", app_name: "Firecracker", more: 1 };
    response.end(JSON.stringify(request.url === "/version" ? version : instance));
  });
  expect(await api.version()).toEqual({ major: 1, minor: 12, text: "1.12.1" });
  expect(await api.state()).toBe("Paused");
});

test("asks a newer one for what only it can do", () => {
  const old = firecrackerLoad.parse(loadBody({ major: 1, minor: 15 }));
  expect(old).not.toHaveProperty("clock_realtime");
  expect(old).not.toHaveProperty("vsock_override");
  for (const version of [
    { major: 1, minor: 16 },
    { major: 2, minor: 0 },
  ]) {
    expect(firecrackerLoad.parse(loadBody(version))).toMatchObject({
      clock_realtime: true,
      vsock_override: { uds_path: "/run/v.sock" },
    });
  }
});
