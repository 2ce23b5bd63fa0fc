import { newHostId, newTenantId, newWorkspaceId } from "@exai/base";
import { describe, expect, test } from "vitest";
import { PolicyError } from "./errors.ts";
import { TestHost, TestTenant } from "./testing/signer.ts";
import { authorise, verifyControlToken, verifyDataToken } from "./tokens.ts";

const nowMs = 1_900_000_000_000;
const now = nowMs / 1000;
const acme = new TestTenant({ name: "acme" });
const globex = new TestTenant({ name: "globex" });
const host = new TestHost();
const workspace = newWorkspaceId();
const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "ok",
    (error: unknown) => (error instanceof PolicyError ? error.code : error),
  );

describe("data-plane tokens", () => {
  const hostId = newHostId();
  const context = { hostId, nowMs };
  const token = (more: object = {}) => acme.dataToken(hostId, ["process"], nowMs, { workspace, ...more });

  test("a good one is a principal", async () => {
    expect(await verifyDataToken(token(), acme.anchor, context)).toMatchObject({
      tenant: acme.anchor.tenant,
      subject: "tester",
      workspace,
      scopes: ["process"],
    });
  });

  test.each([
    ["another host's", { aud: `exai-channel:${newHostId()}` }, "wrong-audience"],
    ["no host's", { aud: "exai-channel" }, "wrong-audience"],
    ["another tenant's name", { iss: globex.anchor.tenant }, "unknown-tenant"],
    ["without a workspace", { workspace: undefined }, "malformed"],
    ["events without a workspace", { workspace: undefined, scope: ["events"] }, "ok"],
    ["events and more without a workspace", { workspace: undefined, scope: ["events", "files"] }, "malformed"],
    ["an unknown scope", { scope: ["everything"] }, "malformed"],
    ["no scope", { scope: [] }, "malformed"],
    ["expired", { iat: now - 300, exp: now - 30 }, "expired"],
    ["of tomorrow", { iat: now + 86_400, exp: now + 86_500 }, "not-yet-valid"],
    ["for a day", { exp: now + 86_400 }, "too-long-lived"],
    ["for ever", { exp: undefined }, "malformed"],
  ])("%s → %s", async (_name, more, expected) => {
    expect(await codeOf(verifyDataToken(token(more), acme.anchor, context))).toBe(expected);
  });

  test("another tenant's key opens nothing, nor does a control token or an intent", async () => {
    const foreign = globex.dataToken(hostId, ["process"], nowMs, { workspace, iss: acme.anchor.tenant });
    expect(await codeOf(verifyDataToken(foreign, acme.anchor, context))).toBe("bad-signature");
    expect(await codeOf(verifyDataToken(acme.controlToken(nowMs), acme.anchor, context))).toBe("wrong-type");
    const intent = acme.intent(workspace, "start", nowMs);
    expect(await codeOf(verifyDataToken(intent, acme.anchor, context))).toBe("wrong-type");
  });
});

describe("authorise", () => {
  const principal = {
    tenant: acme.anchor.tenant,
    subject: "a",
    workspace,
    scopes: ["files" as const],
    jti: "12345678",
  };
  const refusal = (who: typeof principal | { workspace: undefined }, wanted: Parameters<typeof authorise>[1]) => {
    try {
      authorise({ ...principal, ...who }, wanted);
      return "ok";
    } catch (error) {
      return error instanceof PolicyError ? error.code : error;
    }
  };

  test("the workspace and the scope must both be in the token", () => {
    expect(refusal(principal, { workspace, scope: "files" })).toBe("ok");
    expect(refusal(principal, { workspace, scope: "process" })).toBe("scope-missing");
    expect(refusal(principal, { workspace: newWorkspaceId(), scope: "files" })).toBe("wrong-workspace");
    expect(refusal({ ...principal, workspace: undefined }, { workspace, scope: "files" })).toBe("wrong-workspace");
    expect(refusal({ ...principal, workspace: undefined }, { workspace, scope: "events" })).toBe("scope-missing");
  });
});

describe("control-plane tokens", () => {
  const anchors = {
    tenants: new Map([[acme.anchor.tenant as string, acme.anchor]]),
    hosts: new Map([[host.anchor.host as string, host.anchor]]),
  };
  const verify = (token: string) => verifyControlToken(token, anchors, nowMs);

  test("tenants and hosts are who their key says", async () => {
    expect(await verify(acme.controlToken(nowMs))).toMatchObject({ role: "tenant", tenant: acme.anchor.tenant });
    expect(await verify(host.controlToken(nowMs))).toMatchObject({ role: "host", host: host.anchor.host });
  });

  test.each([
    ["a tenant that says it is a host", acme.controlToken(nowMs, { role: "host" }), "unknown-tenant"],
    ["a host that says it is a tenant", host.controlToken(nowMs, { role: "tenant" }), "unknown-tenant"],
    ["an operator", host.controlToken(nowMs, { role: "operator" }), "malformed"],
    ["who is not enrolled", globex.controlToken(nowMs), "unknown-tenant"],
    ["another's name", globex.controlToken(nowMs, { iss: acme.anchor.tenant }), "bad-signature"],
    ["nobody", acme.controlToken(nowMs, { iss: newTenantId() }), "unknown-tenant"],
    ["another audience", acme.controlToken(nowMs, { aud: "exai-host" }), "wrong-audience"],
    ["an hour", acme.controlToken(nowMs, { exp: now + 3600 }), "too-long-lived"],
    ["expired", acme.controlToken(nowMs, { iat: now - 500, exp: now - 30 }), "expired"],
    ["an intent", acme.intent(workspace, "start", nowMs), "wrong-type"],
    ["nonsense", "a.b.c", "unknown-tenant"],
    ["a payload of null", `e30.${Buffer.from("null").toString("base64url")}.e30`, "unknown-tenant"],
  ])("%s", async (_name, token, expected) => {
    expect(await codeOf(verify(token))).toBe(expected);
  });
});
