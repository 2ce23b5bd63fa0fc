import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { serveIpc } from "@exai/ipc";
import { afterEach, beforeEach, expect, it } from "vitest";
import { supervisorContract } from "../contracts.ts";
import { enrolledTenants } from "../enrol/tenants.ts";
import type { Home } from "../home/home.ts";
import { runPaths } from "../home/paths.ts";
import { makeTestHome } from "../testing/home.fixture.ts";
import { tenantCommand } from "./tenant.ts";

let made: ReturnType<typeof makeTestHome>;
let home: Home;
beforeEach(() => {
  made = makeTestHome();
  ({ home } = made);
});
afterEach(() => made[Symbol.dispose]());

async function add(name: string, json = false): Promise<string> {
  let text = "";
  const stdout = (more: string) => {
    text += more;
  };
  const io = { stdout, stderr: stdout, json, signal: new AbortController().signal };
  await tenantCommand({ home: home.paths.home, action: "add", subject: name, imageStore: "/images" }, io);
  return text;
}

/** A supervisor's double, which answers 'reload' as it is told. */
async function supervisor(reload: () => Promise<Record<string, never>>): Promise<AsyncDisposable> {
  const { run, supervisorSocket: path } = runPaths(home.stack);
  mkdirSync(run, { recursive: true });
  const never = async () => Promise.reject(new Error("not asked"));
  return serveIpc({
    path,
    contract: supervisorContract,
    handlers: { status: never, stop: never, checked: never, reload },
  });
}

it("says when a tenant is taken up", async () => {
  expect(await add("a")).toMatch(/no stack runs here: .* next 'exai up'\nnext: exai --tenant a run/);
  expect(JSON.parse(await add("b", true))).toMatchObject({ name: "b", running: false });
  await using _supervisor = await supervisor(async () => ({}));
  expect(await add("c")).not.toMatch(/no stack runs/);
});

it("of which the stack knows nothing yet is an error, and not 'no stack runs'", async () => {
  await using _supervisor = await supervisor(async () => Promise.reject(new Error("the broker does not start")));
  await expect(add("a")).rejects.toMatchObject({
    code: "child",
    message: expect.stringMatching(/'a' is enrolled, but .* did not take it up; see 'exai status'/),
  });
});

it("finds one host, however many come first", async () => {
  const all = await Promise.all(["a", "b", "c", "d"].map(async (name) => JSON.parse(await add(name, true)).host.host));
  expect(new Set(all).size).toBe(1);
});

it("gets a uid of its own from many processes at once", async () => {
  const script = `
    const { tenantCommand } = await import(${JSON.stringify(join(import.meta.dirname, "tenant.ts"))});
    const io = { stdout() {}, stderr() {}, json: true, signal: new AbortController().signal };
    process.stdout.write("ready");
    await new Promise((go) => process.stdin.once("data", go));
    for (let n = 0; n < 4; n++) {
      const subject = "t" + n + "-" + process.pid;
      await tenantCommand({ home: ${JSON.stringify(home.paths.home)}, action: "add", subject, imageStore: "/images" }, io);
    }
    process.exit(0);`;
  const children = Array.from({ length: 5 }, () =>
    spawn(process.execPath, ["--input-type=module", "--eval", script], { stdio: ["pipe", "pipe", "inherit"] }),
  );
  const ended = children.map((child) => once(child, "exit"));
  await Promise.all(children.map((child) => once(child.stdout, "data")));
  for (const child of children) child.stdin.end("go");
  expect((await Promise.all(ended)).map(([code]) => code)).toEqual(Array(5).fill(0));
  expect(enrolledTenants(home)).toHaveLength(20);
});
