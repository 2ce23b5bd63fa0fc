import { readFileSync } from "node:fs";
import { newWorkspaceId } from "@exai/base";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openApiDocument } from "./openapi.ts";
import { ControlHarness } from "./testing/harness.ts";

const text = readFileSync(new URL("../../../spec/openapi.json", import.meta.url), "utf8");
const paths: Record<string, Record<string, { operationId: string; security: unknown[] }>> = JSON.parse(text).paths;
const operations = Object.entries(paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, { operationId, security }]) => ({ path, method, operationId, security })),
);

/** Who may do what. A new endpoint must be put here by hand. */
const matrix: Record<string, { nobody: number; tenant: number; otherTenant: number; host: number; otherHost: number }> =
  {
    health: { nobody: 200, tenant: 200, otherTenant: 200, host: 200, otherHost: 200 },
    openapi: { nobody: 200, tenant: 200, otherTenant: 200, host: 200, otherHost: 200 },
    createWorkspace: { nobody: 401, tenant: 201, otherTenant: 422, host: 403, otherHost: 403 },
    listWorkspaces: { nobody: 401, tenant: 200, otherTenant: 200, host: 403, otherHost: 403 },
    getWorkspace: { nobody: 401, tenant: 200, otherTenant: 404, host: 403, otherHost: 403 },
    addIntent: { nobody: 401, tenant: 200, otherTenant: 422, host: 403, otherHost: 403 },
    haltWorkspace: { nobody: 401, tenant: 403, otherTenant: 403, host: 200, otherHost: 404 },
    listEndpoints: { nobody: 401, tenant: 200, otherTenant: 200, host: 403, otherHost: 403 },
    listHosts: { nobody: 401, tenant: 200, otherTenant: 200, host: 200, otherHost: 200 },
    pollHost: { nobody: 401, tenant: 403, otherTenant: 403, host: 200, otherHost: 403 },
  };

let h: ControlHarness;
beforeAll(async () => {
  h = await ControlHarness.start();
});
afterAll(() => h[Symbol.asyncDispose]());

test("spec/openapi.json is what the routes say; node packages/control/src/openapi.ts renews it", () => {
  expect(JSON.parse(text)).toEqual(openApiDocument());
});

test("the server hands out the same document", async () => {
  expect((await h.call("GET", "/v1/openapi.json")).body).toEqual(JSON.parse(text));
});

test("the matrix names every endpoint and no other", () => {
  expect(operations.map((each) => each.operationId).toSorted()).toEqual(Object.keys(matrix).toSorted());
});

/** A workspace of acme's on the first host, and for each endpoint a request that its rightful caller may make. */
async function scene(operationId: string) {
  const nowMs = Date.now();
  let id = newWorkspaceId();
  // Both hosts are empty or even at first; take one that lands on the first.
  for (;;) {
    const intent = h.acme.intent(id, "create", nowMs);
    await h.as(h.acme, "POST", "/v1/workspaces", { intent });
    const { body } = await h.poll();
    if (body.desired.some((each: { workspace: string }) => each.workspace === id)) break;
    id = newWorkspaceId();
  }
  const bodies: Record<string, unknown> = {
    createWorkspace: { intent: h.acme.intent(newWorkspaceId(), "create", nowMs) },
    addIntent: { intent: h.acme.intent(id, "stop", nowMs + 1) },
    haltWorkspace: { halt: true },
    pollHost: { host: h.host.anchor.host, version: 0, waitMs: 0, observations: [], endpoints: [] },
  };
  return { id: operationId === "pollHost" ? h.host.anchor.host : id, body: bodies[operationId] };
}

const callers: Record<string, () => string | undefined> = {
  nobody: () => undefined,
  tenant: () => h.acme.controlToken(Date.now()),
  otherTenant: () => h.globex.controlToken(Date.now()),
  host: () => h.host.controlToken(Date.now()),
  otherHost: () => h.otherHost.controlToken(Date.now()),
};

describe.each(operations)("$operationId", ({ path, method, operationId, security }) => {
  test("role by role", async () => {
    const seen: Record<string, number> = {};
    for (const [name, makeToken] of Object.entries(callers)) {
      const { id, body } = await scene(operationId);
      const token = makeToken();
      const options = { ...(token === undefined ? {} : { token }), ...(body === undefined ? {} : { body }) };
      const answer = await h.call(method.toUpperCase(), path.replace("{id}", id), options);
      seen[name] = answer.status;
      if (answer.status >= 400) {
        expect(answer.headers["content-type"]).toBe("application/problem+json");
        expect(answer.body).toMatchObject({
          status: answer.status,
          code: expect.any(String),
          detail: expect.any(String),
        });
      }
    }
    expect(seen).toEqual(matrix[operationId]);
  });

  test("no token, a stale one and a forged one open nothing", async () => {
    // Open to anyone: exactly these two.
    if (security.length === 0) return expect(["health", "openapi"]).toContain(operationId);
    const { id, body } = await scene(operationId);
    const url = path.replace("{id}", id);
    const stale = h.acme.controlToken(Date.now() - 3_600_000);
    const forged = h.globex.controlToken(Date.now(), { iss: h.acme.anchor.tenant });
    const data = h.acme.dataToken(h.host.anchor.host, ["events"], Date.now());
    for (const token of [stale, forged, data, "x.y.z"]) {
      const answer = await h.call(method.toUpperCase(), url, { token, ...(body === undefined ? {} : { body }) });
      expect(answer).toMatchObject({ status: 401, body: { code: "unauthenticated" } });
      expect(answer.headers["www-authenticate"]).toBe("Bearer");
    }
    const basic = await h.call(method.toUpperCase(), url, { headers: { authorization: "Basic YTpi" } });
    expect(basic.status).toBe(401);
  });
});
