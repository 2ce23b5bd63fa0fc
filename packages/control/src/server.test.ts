import { newWorkspaceId } from "@exai/base";
import { testSpec } from "@exai/policy/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ControlHarness } from "./testing/harness.ts";

let h: ControlHarness;
beforeAll(async () => {
  h = await ControlHarness.start();
});
afterAll(() => h[Symbol.asyncDispose]());

const create = (more: object = {}, id = newWorkspaceId()) => {
  const intent = h.acme.intent(id, "create", Date.now(), { spec: { ...testSpec, ...more } });
  return { id, intent, sent: h.as(h.acme, "POST", "/v1/workspaces", { intent }) };
};
const observed = (workspace: string, phase: string, serial = 0) => ({ workspace, phase, serial, notEnforced: [] });

/** Which host got it; both are enrolled and the emptier one is chosen. */
async function hostOf(id: string) {
  for (const host of [h.host, h.otherHost]) {
    const answer = await h.poll({}, host);
    if (answer.body.desired.some((each: { workspace: string }) => each.workspace === id)) return host;
  }
  throw new Error("no host has it");
}

describe("from a signed intent to a host and back", () => {
  test("create, poll, observe, wait, destroy", async () => {
    const { id, intent, sent } = create({ name: "first", labels: { team: "a" } });
    const created = await sent;
    expect(created).toMatchObject({
      status: 201,
      body: { id, name: "first", labels: { team: "a" }, desired: "running", intent, revision: 1 },
    });
    const host = await hostOf(id);
    const { body } = await h.poll({}, host);
    expect(body.desired).toContainEqual({
      workspace: id,
      tenant: h.acme.anchor.tenant,
      intents: [intent],
      halt: false,
    });

    const waiting = h.as(h.acme, "GET", `/v1/workspaces/${id}?waitAfter=1&waitMs=5000`);
    const url = "https://127.0.0.1:4433";
    await h.poll(
      { observations: [observed(id, "running", 1)], endpoints: [{ tenant: h.acme.anchor.tenant, url }] },
      host,
    );
    const seen = await waiting;
    expect(seen.body).toMatchObject({ observed: { phase: "running" }, endpoint: { host: host.anchor.host, url } });
    expect(seen.body.revision).toBeGreaterThan(1);
    expect((await h.as(h.acme, "GET", "/v1/endpoints")).body).toEqual({ items: [{ host: host.anchor.host, url }] });

    const destroy = h.acme.intent(id, "destroy", Date.now() + 5);
    const gone = await h.as(h.acme, "POST", `/v1/workspaces/${id}/intents`, { intent: destroy });
    expect(gone).toMatchObject({ status: 200, body: { desired: "destroyed" } });
    const last = (await h.poll({}, host)).body.desired.find((each: { workspace: string }) => each.workspace === id);
    expect(last.intents).toEqual([intent, destroy]);
    await h.poll({ observations: [observed(id, "destroyed", 2)] }, host);
    const after = await h.poll({}, host);
    expect(after.body.desired.map((each: { workspace: string }) => each.workspace)).not.toContain(id);
    expect((await h.as(h.acme, "GET", "/v1/workspaces?name=first")).body.items).toEqual([]);
    expect((await h.as(h.acme, "GET", "/v1/workspaces?name=first&state=all")).body.items).toHaveLength(1);
  });

  test("a waiting host hears of a new workspace within milliseconds", async () => {
    const delays: number[] = [];
    for (let round = 0; round < 10; round++) {
      const before = await Promise.all([h.poll({}, h.host), h.poll({}, h.otherHost)]);
      const polls = Promise.race([
        h.poll({ version: before[0].body.version, waitMs: 5000 }, h.host),
        h.poll({ version: before[1].body.version, waitMs: 5000 }, h.otherHost),
      ]);
      await new Promise((resolve) => setTimeout(resolve, 20));
      await create().sent;
      const start = performance.now();
      await polls;
      delays.push(performance.now() - start);
    }
    delays.sort((a, b) => a - b);
    expect(delays[5]).toBeLessThan(20);
  });
});
