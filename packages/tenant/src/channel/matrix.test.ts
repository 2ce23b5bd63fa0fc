import { generateKeyPairSync } from "node:crypto";
import { create, type DescMethod, type DescMethodStreaming, type DescMethodUnary } from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createConnectTransport, type Http2SessionManager } from "@connectrpc/connect-node";
import { audiences, dataScopes } from "@exai/api";
import { newHostId, newTenantId, newWorkspaceId } from "@exai/base";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { GuestDouble } from "../testing/guest-double.ts";
import { Stand, type TokenOptions } from "../testing/stand.ts";
import { methodRules, ruleOf, servedServices } from "./methods.ts";

/** Every method of the data plane × every way of not being allowed, from the service's description. */
const methods: DescMethod[] = servedServices.flatMap((service): DescMethod[] => service.methods);

let stand: Stand;
let double: GuestDouble;
const workspace = newWorkspaceId();

beforeAll(async () => {
  stand = await (await Stand.make()).start();
  double = (await stand.guest(workspace)).double;
});
afterAll(() => stand[Symbol.asyncDispose]());

test("the table has one rule for each method that is served, and no other", () => {
  expect(methodRules.length).toBe(methods.length);
  for (const method of methods) expect(ruleOf(method), method.name).toBeDefined();
});

/** Calls with an empty message; the status that came back, or undefined for an answer. */
async function statusOf(transport: Transport, method: DescMethod, timeoutMs = 5000): Promise<Code | undefined> {
  const message = create(method.input);
  try {
    if (method.methodKind === "unary") {
      await transport.unary(method as DescMethodUnary, undefined, timeoutMs, undefined, message);
      return undefined;
    }
    async function* input() {
      yield message;
    }
    const { message: answers } = await transport.stream(
      method as DescMethodStreaming,
      undefined,
      timeoutMs,
      undefined,
      input(),
    );
    for await (const _ of answers);
    return undefined;
  } catch (error) {
    return ConnectError.from(error).code;
  }
}

const now = () => Math.floor(Date.now() / 1000);
const refused: Record<string, (method: DescMethod) => { token?: TokenOptions | string; code: Code }> = {
  "no token": () => ({ code: Code.Unauthenticated }),
  "an empty token": () => ({ token: "", code: Code.Unauthenticated }),
  "a token that is none": () => ({ token: "a.b.c", code: Code.Unauthenticated }),
  "a token by another key": () => ({
    token: { workspace, key: generateKeyPairSync("ed25519").privateKey },
    code: Code.Unauthenticated,
  }),
  "a token of another tenant": () => ({
    token: { workspace, claims: { iss: newTenantId() } },
    code: Code.Unauthenticated,
  }),
  "a token for another host": () => ({
    token: { workspace, claims: { aud: `${audiences.data}:${newHostId()}` } },
    code: Code.Unauthenticated,
  }),
  "a token for the control plane": () => ({
    token: { workspace, claims: { aud: audiences.control } },
    code: Code.Unauthenticated,
  }),
  "an expired token": () => ({
    token: { workspace, claims: { iat: now() - 900, exp: now() - 600 } },
    code: Code.Unauthenticated,
  }),
  "a token that lives too long": () => ({
    token: { workspace, claims: { exp: now() + 90_000 } },
    code: Code.Unauthenticated,
  }),
  "a token without the scope": (method) => ({
    token: { workspace, scope: dataScopes.filter((scope) => scope !== ruleOf(method)?.scope) },
    code: Code.PermissionDenied,
  }),
};

for (const [what, make] of Object.entries(refused)) {
  test(`${what} opens no method`, async () => {
    const before = double.calls.filter((call) => !call.endsWith("/Hello")).length;
    for (const method of methods) {
      const { token, code } = make(method);
      const text = typeof token === "object" ? stand.token(token) : token;
      const manager = stand.manager();
      expect(await statusOf(stand.transport(text, { manager }), method), `${method.name} by gRPC`).toBe(code);
      expect(await statusOf(connectTransport(text, manager), method), `${method.name} by Connect`).toBe(code);
      manager.abort();
    }
    expect(double.calls.filter((call) => !call.endsWith("/Hello")).length).toBe(before);
  });
}

test("a token for events of the whole tenant opens no workspace", async () => {
  const token = stand.token({ workspace: undefined, scope: ["events"] });
  const transport = stand.transport(token);
  for (const method of methods) {
    const code = await statusOf(transport, method, 300);
    if (method.name === "Events") expect(code).toBeUndefined();
    else expect(code, method.name).toBe(Code.PermissionDenied);
  }
});

test("a token for another workspace reaches that one only, which does not run here", async () => {
  const before = double.calls.length;
  const transport = stand.transport(stand.token({ workspace: newWorkspaceId() }));
  for (const method of methods.filter(({ name }) => name !== "Events")) {
    const code = await statusOf(transport, method, 50);
    expect([Code.Unavailable, Code.DeadlineExceeded, Code.InvalidArgument], `${method.name} ${code}`).toContain(code);
  }
  expect(double.calls.length).toBe(before);
});

test("the right token with the one scope opens each method", async () => {
  const manager = stand.manager();
  for (const method of methods) {
    const scope = ruleOf(method)?.scope;
    const token = stand.token({ workspace, scope: scope === undefined ? [] : [scope] });
    for (const transport of [stand.transport(token, { manager }), connectTransport(token, manager)]) {
      const code = await statusOf(transport, method, 300);
      expect([Code.Unauthenticated, Code.PermissionDenied, Code.Unimplemented], method.name).not.toContain(code);
    }
  }
});

function connectTransport(token: string | undefined, manager: Http2SessionManager): Transport {
  return createConnectTransport({
    baseUrl: stand.url,
    httpVersion: "2",
    acceptCompression: [],
    interceptors: [
      (next) => (request) => {
        if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
        return next(request);
      },
    ],
    sessionManager: manager,
  });
}
