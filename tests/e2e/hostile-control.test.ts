/**
 * The control plane is not trusted: docs/internals/authority.md says what a stolen one can do and can't. Each test here
 * is one line of that table, against the real broker process.
 */
import { newTenantId, newWorkspaceId, type WorkspaceId } from "@exai/base";
import type { TestTenant } from "@exai/policy/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BrokerFixture } from "./hostile-control/broker-fixture.ts";
import type { LyingControlPlane } from "./hostile-control/lying-control-plane.ts";
import type { HostDouble } from "./hostile-control/node-double.ts";

let fixture: BrokerFixture;
let control: LyingControlPlane;
let acmeHost: HostDouble;
let globexHost: HostDouble;
let ws: WorkspaceId;

beforeEach(async () => {
  ({ fixture, control, acme: acmeHost, globex: globexHost } = await BrokerFixture.start());
  ws = newWorkspaceId();
});
afterEach(() => fixture[Symbol.asyncDispose]());

const desired = (tenant: TestTenant, workspace: WorkspaceId, intents: readonly string[], halt = false) => ({
  workspace,
  tenant: tenant.anchor.tenant,
  intents: [...intents],
  halt,
});
const mine = (intents: readonly string[], halt = false) => desired(fixture.acme, ws, intents, halt);
const later = (act: string, plusMs: number, more: object = {}) =>
  fixture.acme.intent(ws, act, Date.now(), { serial: Date.now() + plusMs, ...more });
const reaches = (phase: string, workspace = ws) =>
  control.until(() => control.phase(workspace) === phase, `${workspace} is ${phase}, not ${control.phase(workspace)}`);

/** A workspace of acme's that runs, by its tenant's will. */
async function running(spec: object = {}): Promise<string> {
  const creation = fixture.creation(fixture.acme, ws, spec);
  await control.say([mine([creation])]);
  await reaches("running");
  expect(acmeHost.steps(ws)).toEqual(["prepare", "launch"]);
  return creation;
}

/** Nothing was asked of any node agent since. */
const untouched = (since: number) => {
  expect(acmeHost.calls.slice(since)).toEqual([]);
  expect(acmeHost.state(ws)).toBe("running");
};

describe("opens nothing", () => {
  test("an image that no trusted release key signed is not booted, whoever asks", async () => {
    await control.say([mine([fixture.creation(fixture.acme, ws, { image: fixture.foreignImage })])]);
    await reaches("failed");
    expect(control.observed(ws)?.message).toMatch(/no trusted release key/);
    expect(acmeHost.steps(ws)).not.toContain("launch");
  });

  test("a spec that was changed after it was signed is refused", async () => {
    const [header = "", payload = "", signature = ""] = fixture.creation(fixture.acme, ws).split(".");
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    claims.spec.image = fixture.foreignImage;
    const changed = Buffer.from(JSON.stringify(claims)).toString("base64url");
    await control.say([mine([`${header}.${changed}.${signature}`])]);
    await reaches("refused");
    expect(acmeHost.calls).toEqual([]);
    expect(fixture.journal()).toEqual([]);
  });

  test("what its own key signed, in a tenant's name, is refused", async () => {
    const { TestTenant: Tenant } = await import("@exai/policy/testing");
    const impostor = new Tenant({ tenant: fixture.acme.anchor.tenant });
    await control.say([mine([fixture.creation(impostor, ws)])]);
    await reaches("refused");
    expect(acmeHost.calls).toEqual([]);
  });

  test("one tenant's intent is of no use under another's name", async () => {
    const other = newWorkspaceId();
    await control.say([
      desired(fixture.globex, ws, [fixture.creation(fixture.acme, ws)]),
      desired(fixture.acme, other, [fixture.creation(fixture.globex, other)]),
    ]);
    await reaches("refused");
    await reaches("refused", other);
    expect([...acmeHost.calls, ...globexHost.calls]).toEqual([]);
  });

  test("an intent for one workspace makes no other", async () => {
    const other = newWorkspaceId();
    await control.say([desired(fixture.acme, other, [fixture.creation(fixture.acme, ws)])]);
    await reaches("refused", other);
    expect(acmeHost.calls).toEqual([]);
  });

  test("a tenant that is not enrolled here gets nothing", async () => {
    await control.say([{ ...mine([fixture.creation(fixture.acme, ws)]), tenant: newTenantId() }]);
    await reaches("refused");
    expect([...acmeHost.calls, ...globexHost.calls]).toEqual([]);
  });

  test("a creation that was held back until it expired is refused", async () => {
    const hourAgo = Math.floor(Date.now() / 1000) - 3600;
    await control.say([mine([fixture.creation(fixture.acme, ws, {}, { iat: hourAgo, exp: hourAgo + 600 })])]);
    await reaches("refused");
    expect(acmeHost.calls).toEqual([]);
  });

  test("an older start, sent again after a stop, starts nothing; nor does a restart of the broker", async () => {
    const creation = await running();
    const [start, stop] = [later("start", 1000), later("stop", 2000)];
    await control.say([mine([creation, start])]);
    await control.say([mine([creation, start, stop])]);
    await reaches("stopped");
    const since = acmeHost.calls.length;
    await control.say([mine([creation, start])]);
    await control.say([mine([start])]);
    await fixture.killBroker();
    fixture.startBroker();
    await control.say([mine([creation, start])]);
    await reaches("stopped");
    expect(acmeHost.steps(ws).slice(since)).not.toContain("launch");
    expect(acmeHost.state(ws)).toBe("exited");
  });

  test("a creation, sent again after its workspace was destroyed, makes nothing; nor does a restart of the broker", async () => {
    const creation = await running();
    await control.say([mine([creation, later("destroy", 1000)])]);
    await reaches("destroyed");
    const since = acmeHost.calls.length;
    await control.say([mine([creation])]);
    await control.say([mine([creation, later("start", 5000)])]);
    await fixture.killBroker();
    fixture.startBroker();
    await control.say([mine([creation])]);
    await control.say([]);
    await control.say([mine([creation])]);
    expect(acmeHost.calls.slice(since)).toEqual([]);
    expect(acmeHost.state(ws)).toBe("absent");
  });
});

describe("loses nothing", () => {
  test("a destroy that the tenant did not sign for this workspace destroys nothing", async () => {
    const creation = await running();
    const since = acmeHost.calls.length;
    const other = newWorkspaceId();
    const { TestTenant: Tenant } = await import("@exai/policy/testing");
    const impostor = new Tenant({ tenant: fixture.acme.anchor.tenant });
    const serial = { serial: Date.now() + 1000 };
    for (const forged of [
      impostor.intent(ws, "destroy", Date.now(), serial),
      fixture.globex.intent(ws, "destroy", Date.now(), serial),
      fixture.acme.intent(other, "destroy", Date.now(), serial),
      fixture.acme.controlToken(Date.now()),
      later("destroy", 1000, { exp: Math.floor(Date.now() / 1000) - 60, iat: Math.floor(Date.now() / 1000) - 600 }),
      later("destroy", -3_600_000),
    ]) {
      await control.say([mine([creation, forged])]);
      await control.say([mine([forged])]);
    }
    untouched(since);
    expect(control.phase(ws)).toBe("running");
  });

  test("what it does not list is quarantined and goes on running; listed again, it is as before", async () => {
    const creation = await running();
    const since = acmeHost.calls.length;
    await control.say([]);
    await reaches("quarantined");
    untouched(since);
    expect(fixture.journal()).toHaveLength(1);
    await control.say([mine([creation])]);
    await reaches("running");
    untouched(since);
  });

  test("a database that was restored from an older copy starts and loses nothing", async () => {
    const creation = await running();
    const other = newWorkspaceId();
    const second = fixture.creation(fixture.acme, other);
    await control.say([mine([creation, later("stop", 1000)]), desired(fixture.acme, other, [second])]);
    await reaches("stopped");
    await reaches("running", other);
    const since = acmeHost.calls.length;
    // The copy is from before the stop and before the second workspace.
    await control.say([mine([creation])]);
    await reaches("quarantined", other);
    await fixture.killBroker();
    fixture.startBroker();
    await control.say([mine([creation])]);
    await reaches("stopped");
    await reaches("quarantined", other);
    expect(acmeHost.calls.slice(since).map((call) => call.method)).not.toContain("launch");
    expect(acmeHost.calls.slice(since).map((call) => call.method)).not.toContain("remove");
    expect([acmeHost.state(ws), acmeHost.state(other)]).toEqual(["exited", "running"]);
  });

  test("the TTL falls due all the same, listed or not, and not before", async () => {
    const signedMs = Date.now();
    await control.say([mine([fixture.creation(fixture.acme, ws, { ttlSeconds: 8 })])]);
    await control.until(() => acmeHost.steps(ws).includes("launch"), "it was launched");
    await control.say([]);
    await control.until(() => acmeHost.steps(ws).includes("remove"), "the TTL destroyed it");
    expect(acmeHost.state(ws)).toBe("absent");
    // Signed times have whole seconds.
    expect(Date.now() - signedMs).toBeGreaterThan(7000);
  });

  test("one tenant's forged entry does not keep another's real one from being taken", async () => {
    const other = newWorkspaceId();
    await control.say([
      mine(["x.y.z"]),
      { workspace: ws, tenant: fixture.globex.anchor.tenant, intents: ["x.y.z"], halt: true },
      desired(fixture.globex, other, [fixture.creation(fixture.globex, other)]),
    ]);
    await reaches("running", other);
    expect(globexHost.steps(other)).toEqual(["prepare", "launch"]);
    expect(acmeHost.calls).toEqual([]);
  });
});

describe("is not believed", () => {
  const paths = [
    "../../../../etc/cron.d",
    "..",
    "/etc/passwd",
    "a/b",
    "aaaaaaaaaaaaaaaaaaaa/",
    "A".repeat(20),
    "",
    "x\0y",
  ];

  test.each(paths)("an id '%s' is refused before anything is done with it", async (path) => {
    const creation = await running();
    const since = acmeHost.calls.length;
    const lists: Record<string, unknown>[] = [
      { ...mine([creation]), workspace: path },
      { ...mine([creation]), tenant: path },
    ];
    for (const entry of lists) {
      const text = JSON.stringify({ version: 7_000_000, desired: [entry] });
      await control.misbehave((response) => response.writeHead(200).end(text));
    }
    untouched(since);
    expect(fixture.journal()).toEqual([`${ws}.json`]);
    await control.say([mine([creation])]);
    untouched(since);
  });

  test.each([
    ["an error", 500, "{}"],
    ["a refusal", 401, "{}"],
    ["a redirect", 307, ""],
    ["no JSON", 200, "<html>"],
    ["a list that is no list", 200, '{"version":1,"desired":{}}'],
    ["a version below zero", 200, '{"version":-1,"desired":[]}'],
    ["an unknown member", 200, '{"version":1,"desired":[],"run":"id"}'],
    ["65 intents", 200, JSON.stringify({ version: 1, desired: [{ intents: Array(65).fill("a.b.c") }] })],
  ])("%s changes nothing, and the host goes on asking", async (_name, status, text) => {
    const creation = await running();
    const since = acmeHost.calls.length;
    await control.misbehave((response) => response.writeHead(status, { location: "http://127.0.0.1:1/" }).end(text));
    untouched(since);
    expect(fixture.brokerLives).toBe(true);
    await control.say([mine([creation, later("stop", 1000)])]);
    await reaches("stopped");
  });

  test("an answer without an end is cut off", async () => {
    const creation = await running();
    const since = acmeHost.calls.length;
    const before = fixture.brokerMib;
    const chunk = "a".repeat(1 << 20);
    await control.misbehave((response) => {
      response.on("error", () => undefined);
      const more = () => {
        while (!response.destroyed && response.write(chunk));
        response.once("drain", more);
      };
      more();
    }, 2);
    untouched(since);
    expect(fixture.brokerMib - before).toBeLessThan(400);
    await control.say([mine([creation])]);
  });

  test("thousands of workspaces that nobody signed fill neither the log, the memory nor the journal", async () => {
    const creation = await running();
    const since = acmeHost.calls.length;
    const invented = () => desired(fixture.acme, newWorkspaceId(), ["x.y.z"]);
    await control.say([mine([creation]), ...Array.from({ length: 2000 }, invented)]);
    const [memory, spool] = [fixture.brokerMib, fixture.spoolBytes(fixture.acme)];
    for (let round = 0; round < 5; round++) {
      await control.say([mine([creation]), ...Array.from({ length: 2000 }, invented)]);
    }
    untouched(since);
    expect(fixture.journal()).toEqual([`${ws}.json`]);
    expect(fixture.brokerMib - memory).toBeLessThan(64);
    expect(fixture.spoolBytes(fixture.acme) - spool).toBeLessThan(1 << 20);
    await control.say([mine([creation, later("stop", 1000)])]);
    await reaches("stopped");
  });
});

describe("can stop", () => {
  test("halt stops a workspace without a signature; it is kept, and runs again when the halt is gone", async () => {
    const creation = await running();
    await control.say([mine([creation], true)]);
    await reaches("stopped");
    expect(acmeHost.shutdowns).toEqual([ws]);
    expect(acmeHost.state(ws)).toBe("exited");
    expect(acmeHost.steps(ws)).not.toContain("remove");
    const start = later("start", 1000);
    await control.say([mine([creation, start], true)]);
    expect(acmeHost.state(ws)).toBe("exited");
    await fixture.killBroker();
    fixture.startBroker();
    await reaches("stopped");
    expect(acmeHost.state(ws)).toBe("exited");
    await control.say([mine([creation, start])]);
    await reaches("running");
    expect(acmeHost.state(ws)).toBe("running");
  });

  test("halt brings no boot, and makes nothing of what nobody signed", async () => {
    const other = newWorkspaceId();
    await control.say([
      mine([fixture.creation(fixture.acme, ws)], true),
      desired(fixture.acme, other, ["x.y.z"], true),
    ]);
    await reaches("stopped");
    await reaches("refused", other);
    expect(acmeHost.calls.map((call) => call.method)).not.toContain("launch");
  });
});
