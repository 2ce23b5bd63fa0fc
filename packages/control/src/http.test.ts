import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { newWorkspaceId } from "@exai/base";
import { testSpec } from "@exai/policy/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mostStrangers } from "./http/connections.ts";
import { ControlHarness } from "./testing/harness.ts";

let h: ControlHarness;
beforeAll(async () => {
  h = await ControlHarness.start();
});
afterAll(() => h[Symbol.asyncDispose]());

const intentOf = (more: object = {}, id = newWorkspaceId()) =>
  h.acme.intent(id, "create", Date.now(), { spec: { ...testSpec, ...more } });
const create = (intent: string, headers?: Record<string, string>) =>
  h.as(h.acme, "POST", "/v1/workspaces", { intent }, headers);

describe("idempotency keys", () => {
  test("the same request twice is done once and answered alike", async () => {
    const intent = intentOf({ name: "once" });
    const headers = { "idempotency-key": "key-1" };
    const first = await create(intent, headers);
    const second = await create(intent, headers);
    expect(first.status).toBe(201);
    expect(second).toMatchObject({ status: 201, body: first.body });
    await h.restart();
    expect(await create(intent, headers)).toMatchObject({ status: 201, body: first.body });
  });

  test("the same key for another request is refused and does nothing", async () => {
    const headers = { "idempotency-key": "key-2" };
    await create(intentOf(), headers);
    const id = newWorkspaceId();
    expect(await create(intentOf({}, id), headers)).toMatchObject({
      status: 422,
      body: { code: "idempotency-key-reused" },
    });
    expect((await h.as(h.acme, "GET", `/v1/workspaces/${id}`)).status).toBe(404);
  });

  test("keys of two tenants do not meet, and a refused request does not use its key up", async () => {
    const headers = { "idempotency-key": "key-3" };
    const [mine, theirs] = [newWorkspaceId(), newWorkspaceId()];
    expect((await create(h.globex.intent(mine, "create", Date.now()), headers)).status).toBe(422);
    expect((await create(intentOf({}, mine), headers)).status).toBe(201);
    const intent = h.globex.intent(theirs, "create", Date.now());
    expect((await h.as(h.globex, "POST", "/v1/workspaces", { intent }, headers)).status).toBe(201);
  });

  test("twenty at once make one workspace", async () => {
    const intent = intentOf({ name: "race" });
    const answers = await Promise.all(Array.from({ length: 20 }, () => create(intent, { "idempotency-key": "key-4" })));
    expect(new Set(answers.map((each) => each.status))).toEqual(new Set([201]));
    expect(new Set(answers.map((each) => JSON.stringify(each.body))).size).toBe(1);
  });

  test.each(["", " ", "a b", "x".repeat(129), "é"])("'%s' is no key", async (key) => {
    const answer = await create(intentOf(), { "idempotency-key": key }).catch(() => ({ status: 400 }));
    expect(answer.status).toBe(400);
  });
});

describe("what is refused, and what it says", () => {
  const post = (path: string, options: object) =>
    h.call("POST", path, { token: h.acme.controlToken(Date.now()), ...options });

  test.each([
    ["no JSON", { raw: "{" }, 400, "malformed-request"],
    ["no UTF-8", { raw: Buffer.from([0x22, 0xff, 0x22]) }, 400, "malformed-request"],
    ["an empty body", { raw: "" }, 400, "malformed-request"],
    ["an unknown member", { body: { intent: "a.b.c", force: true } }, 400, "malformed-request"],
    ["another type", { raw: "{}", headers: { "content-type": "text/plain" } }, 415, "not-json"],
    ["too much", { raw: `{"intent":"${"a".repeat(20_000)}"}` }, 413, "body-too-large"],
    ["an intent that is none", { body: { intent: "a.b.c" } }, 422, "intent-refused"],
    ["a query", { body: { intent: "a.b.c" }, query: "?x=1" }, 400, "malformed-request"],
  ])("%s", async (_name, options: object & { query?: string }, status, code) => {
    const { query = "", ...rest } = options;
    expect(await post(`/v1/workspaces${query}`, rest)).toMatchObject({ status, body: { status, code } });
  });

  test("intents of another kind, tenant or workspace", async () => {
    const id = newWorkspaceId();
    await create(intentOf({}, id));
    const to = (intent: string) => h.as(h.acme, "POST", `/v1/workspaces/${id}/intents`, { intent });
    const later = Date.now() + 1000;
    expect((await create(h.acme.intent(newWorkspaceId(), "stop", Date.now()))).body.code).toBe("intent-refused");
    expect((await to(h.acme.intent(newWorkspaceId(), "stop", later))).body.code).toBe("intent-refused");
    expect((await to(h.globex.intent(id, "stop", later))).body.code).toBe("intent-refused");
    expect((await to(h.acme.intent(id, "create", later, { jti: "create-2" }))).body.code).toBe("intent-refused");
    expect((await to(h.acme.intent(id, "stop", 5, { iat: 0, exp: 60 }))).body.detail).toContain("expired");
    expect((await to(h.acme.intent(id, "stop", Date.now(), { serial: 1 }))).body.code).toBe("older-serial");
    const stop = h.acme.intent(id, "stop", later);
    expect([(await to(stop)).status, (await to(stop)).status]).toEqual([200, 200]);
    await to(h.acme.intent(id, "destroy", later + 1));
    expect((await to(h.acme.intent(id, "start", later + 2))).body.code).toBe("workspace-destroyed");
  });

  test("paths, methods and ids", async () => {
    const token = h.acme.controlToken(Date.now());
    expect((await h.call("GET", "/v2/workspaces", { token })).body.code).toBe("not-found");
    const patch = await h.call("PATCH", "/v1/workspaces", { token });
    expect(patch).toMatchObject({ status: 405, headers: { allow: "POST, GET" }, body: { code: "method-not-allowed" } });
    for (const id of ["x", "..%2f..%2fetc%2fpasswd", "A".repeat(20), `${newWorkspaceId()}%00`]) {
      expect((await h.call("GET", `/v1/workspaces/${id}`, { token })).status).toBe(400);
    }
  });

  test("a name is taken until the host says that nothing is left", async () => {
    const id = newWorkspaceId();
    await create(intentOf({ name: "web" }, id));
    expect((await create(intentOf({ name: "web" }))).body).toMatchObject({
      code: "name-taken",
      detail: expect.stringContaining(id),
    });
    const intent = h.globex.intent(newWorkspaceId(), "create", Date.now(), { spec: { ...testSpec, name: "web" } });
    expect((await h.as(h.globex, "POST", "/v1/workspaces", { intent })).status).toBe(201);
  });

  test("an internal failure says nothing of its cause", async () => {
    const broken = await ControlHarness.start();
    await using _ = broken;
    broken.breakDatabase();
    const answer = await broken.as(broken.acme, "GET", "/v1/workspaces");
    expect(answer).toMatchObject({ status: 500, body: { code: "internal" } });
    expect(JSON.stringify(answer.body)).not.toContain("no such table");
    expect((await broken.call("GET", "/v1/openapi.json")).status).toBe(200);
  });
});

describe("pages", () => {
  test("every workspace comes once, whatever is created meanwhile; filters hold", async () => {
    const made = new Set<string>();
    for (let n = 0; n < 25; n++) {
      const id = newWorkspaceId();
      await create(intentOf({ labels: { page: "yes", odd: String(n % 2) } }, id));
      made.add(id);
    }
    const seen: string[] = [];
    let cursor = "";
    do {
      const { body } = await h.as(h.acme, "GET", `/v1/workspaces?limit=7&label=page=yes${cursor}`);
      seen.push(...body.items.map((item: { id: string }) => item.id));
      cursor = body.nextCursor === undefined ? "" : `&cursor=${body.nextCursor}`;
      if (seen.length < 10) await create(intentOf({ labels: { page: "later" } }));
    } while (cursor !== "");
    expect(seen).toHaveLength(25);
    expect(new Set(seen)).toEqual(made);
    const odd = await h.as(h.acme, "GET", "/v1/workspaces?label=page=yes&label=odd=1");
    expect(odd.body.items).toHaveLength(12);
    expect((await h.as(h.globex, "GET", "/v1/workspaces?label=page=yes")).body.items).toEqual([]);
  });

  test.each(["cursor=x", "limit=0", "limit=1001", "limit=-1", "label=a", "label==x", "limit=1&limit=2", "colour=red"])(
    "%s is refused",
    async (query) => {
      expect((await h.as(h.acme, "GET", `/v1/workspaces?${query}`)).body.code).toBe("malformed-request");
    },
  );
});

test("a host that reports and knows the newest version is not sent the list again; one that asks is", async () => {
  await create(intentOf({}, newWorkspaceId()));
  const { version } = (await h.poll({})).body;
  expect((await h.poll({ version, waitMs: 0 })).body).toEqual({ version });
  expect((await h.poll({ version, waitMs: 20 })).body.desired.length).toBeGreaterThan(0);
  expect((await h.poll({ version: version - 1, waitMs: 0 })).body.desired.length).toBeGreaterThan(0);
});

describe("long polls", () => {
  test("answer after their time when nothing changes", async () => {
    const id = newWorkspaceId();
    await create(intentOf({}, id));
    const start = performance.now();
    const answer = await h.as(h.acme, "GET", `/v1/workspaces/${id}?waitAfter=1&waitMs=150`);
    expect(answer.body.revision).toBe(1);
    expect(performance.now() - start).toBeGreaterThan(140);
  });

  test("a client that goes away leaves no waiter, and stopping answers those that wait", async () => {
    const id = newWorkspaceId();
    await create(intentOf({}, id));
    const gone = new AbortController();
    const path = `/v1/workspaces/${id}?waitAfter=1&waitMs=60000`;
    const lost = h.call("GET", path, { token: h.acme.controlToken(Date.now()), signal: gone.signal });
    const kept = h.as(h.acme, "GET", path);
    await new Promise((resolve) => setTimeout(resolve, 50));
    gone.abort();
    await expect(lost).rejects.toThrow();
    const start = performance.now();
    await h.restart();
    expect((await kept).status).toBe(200);
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe("the connection", () => {
  test("no number of connections without a token keeps out, or cuts off, who has one", async () => {
    const id = newWorkspaceId();
    await create(intentOf({}, id));
    const waiting = h.as(h.acme, "GET", `/v1/workspaces/${id}?waitAfter=1&waitMs=2000`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const idle: Socket[] = [];
    let cut = 0;
    for (let n = 0; n < mostStrangers + 100; n++) {
      const socket = connect(h.socket).on("close", () => cut++);
      await once(socket, "connect");
      idle.push(socket);
    }
    await expect.poll(() => cut).toBeGreaterThanOrEqual(100);
    expect((await h.poll({})).status).toBe(200);
    expect((await waiting).status).toBe(200);
    for (const socket of idle) socket.destroy();
  });

  /** Sends bytes as they are and gives what comes back until the end. */
  const raw = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect(h.socket, () => socket.write(text));
      let got = "";
      socket.on("data", (data) => (got += data.toString("latin1")));
      socket.on("close", () => resolve(got));
      socket.on("error", reject);
      setTimeout(() => socket.destroy(), 3000).unref();
    });

  test("headers beyond 16 KiB are refused", async () => {
    expect(await raw(`GET /v1/health HTTP/1.1\r\nhost: x\r\nx: ${"a".repeat(20_000)}\r\n\r\n`)).toContain(" 431 ");
  });

  test("two lengths, a length with chunks, or nonsense end the connection", async () => {
    const both =
      "POST /v1/workspaces HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    expect(await raw(both)).toContain(" 400 ");
    expect(await raw("GET /v1/health HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n")).toContain(
      " 400 ",
    );
    expect(await raw("\x16\x03\x01\r\n\r\n")).toContain(" 400 ");
  });
});
