import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { newWorkspaceId } from "@exai/base";
import { TestHost, TestTenant } from "@exai/policy/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

const host = new TestHost();
const acme = new TestTenant();
let folder: string;
let running: ChildProcess | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-control-main-"));
});
afterEach(() => {
  running?.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

const socket = () => join(folder, "c.sock");

/** Starts the program as the supervisor does; resolves at its first line of log. */
async function start(config: unknown = undefined): Promise<{ child: ChildProcess; line: string }> {
  const child = spawn(process.execPath, [new URL("main.ts", import.meta.url).pathname], {
    stdio: ["pipe", "ignore", "pipe"],
  });
  running = child;
  const text = JSON.stringify(
    config ?? {
      database: { kind: "sqlite", file: join(folder, "state.db") },
      listen: { kind: "unix", path: socket() },
      tenants: [acme.anchor],
      hosts: [host.anchor],
    },
  );
  child.stdin?.write(`${text}\n`);
  const [data] = await once(child.stderr ?? child, "data");
  return { child, line: String(data) };
}

const call = (method: string, path: string, body?: unknown): Promise<number> =>
  new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", authorization: `Bearer ${acme.controlToken(Date.now())}` };
    const sent = request({ socketPath: socket(), method, path, headers, agent: false }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode ?? 0));
    });
    sent.on("error", reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });

test("it starts from its standard input and ends when that ends", async () => {
  const { child, line } = await start();
  expect(JSON.parse(line)).toMatchObject({ level: "info", process: "control", message: "control plane started" });
  expect(await call("GET", "/v1/health")).toBe(200);
  const exit = once(child, "exit");
  child.stdin?.end();
  expect(await exit).toEqual([0, null]);
  expect(existsSync(socket())).toBe(false);
});

test("what was answered survives a kill, and the socket that was left behind is no obstacle", async () => {
  const ids = Array.from({ length: 5 }, () => newWorkspaceId());
  for (const id of ids) {
    const { child } = await start();
    expect(await call("POST", "/v1/workspaces", { intent: acme.intent(id, "create", Date.now()) })).toBe(201);
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }
  await start();
  for (const id of ids) expect(await call("GET", `/v1/workspaces/${id}`)).toBe(200);
});

test("a newer database is refused in one sentence", async () => {
  const { child } = await start();
  const exit = once(child, "exit");
  child.kill("SIGTERM");
  await exit;
  using db = new DatabaseSync(join(folder, "state.db"));
  db.exec("insert into kysely_migration (name, timestamp) values ('9999-future', 'x')");
  const { child: second, line } = await start();
  expect(JSON.parse(line)).toMatchObject({ level: "error", reason: expect.stringContaining("newer exai") });
  expect(second.exitCode ?? (await once(second, "exit"))[0]).toBe(1);
});

test("an unknown member of the configuration is refused", async () => {
  const { child, line } = await start({ listen: { kind: "unix", path: socket() }, debug: true });
  expect(JSON.parse(line)).toMatchObject({ level: "error", message: "the control plane did not start" });
  expect(child.exitCode ?? (await once(child, "exit"))[0]).toBe(1);
});
