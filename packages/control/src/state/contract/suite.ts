/** For tests only: what any database under the control plane must do. */
import { newHostId, newWorkspaceId, type WorkspaceId } from "@exai/base";
import { verifyIntent } from "@exai/policy";
import { TestTenant, testSpec } from "@exai/policy/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ControlError } from "../../errors.ts";
import type { Call } from "../idempotency.ts";
import { type OpenDatabase, openDatabase } from "../open.ts";
import { Store } from "../store.ts";

type Config = Parameters<typeof openDatabase>[0];

const acme = new TestTenant({ name: "acme" });
const globex = new TestTenant({ name: "globex" });
const host = newHostId();
const day = 24 * 3_600_000;
const startMs = Date.now();

export function storeContract(name: string, config: () => Config): void {
  describe(`store over ${name}`, () => {
    let open: OpenDatabase;
    let store: Store;
    let serial = startMs;
    beforeAll(async () => {
      open = await openDatabase(config());
      store = new Store(open);
      await store.startHosts([host], startMs);
    });
    afterAll(() => open[Symbol.asyncDispose]());

    const callOf = (more: Partial<Call> = {}): Call => ({
      principal: acme.anchor.tenant,
      key: undefined,
      digest: "d",
      nowMs: startMs,
      ...more,
    });
    const intent = async (tenant: TestTenant, id: WorkspaceId, act: string, more: object = {}) => {
      const jws = tenant.intent(id, act, startMs, { serial: serial++, ...more });
      return { jws, claims: await verifyIntent(jws, tenant.anchor, startMs) };
    };
    const create = async (more: object = {}, tenant = acme, call = callOf()) => {
      const id = newWorkspaceId();
      await store.create(call, await intent(tenant, id, "create", { spec: { ...testSpec, ...more } }), host);
      return id;
    };
    const said = (workspace: WorkspaceId, phase: "running" | "destroyed" | "refused" | "quarantined") => ({
      observations: [{ workspace, phase, serial: 0, notEnforced: [] }],
      endpoints: [],
    });
    const codeOf = (work: Promise<unknown>) =>
      work.then(
        () => "ok",
        (error: unknown) => (error instanceof ControlError ? error.code : error),
      );
    const listed = async (id: WorkspaceId) => (await store.desired(host)).desired.find((each) => each.workspace === id);

    test("a record comes back as it was written", async () => {
      const id = await create({ name: "record", labels: { a: "1", b: "" }, ttlSeconds: 60 });
      const got = await store.get(acme.anchor.tenant, id);
      expect(got).toMatchObject({ id, name: "record", labels: { a: "1", b: "" }, ttlSeconds: 60, revision: 1 });
      expect(got?.createdAt).toBe(new Date(startMs).toISOString());
      expect(await codeOf(store.get(globex.anchor.tenant, id))).toBe("not-found");
    });

    test("the host's version rises with each change of what is desired, and with nothing else", async () => {
      const before = await store.version(host);
      const id = await create();
      expect(await store.version(host)).toBe(before + 1);
      await store.report(host, said(id, "running"), startMs);
      expect(await store.version(host)).toBe(before + 1);
      await store.append(callOf(), await intent(acme, id, "stop"));
      await store.halt(host, id, true);
      await store.halt(host, id, true);
      expect(await store.version(host)).toBe(before + 3);
      expect(await listed(id)).toMatchObject({ halt: true });
    });

    test("a new start gives a version that the host has not seen, also on an old copy", async () => {
      const before = await store.version(host);
      await store.startHosts([host], startMs);
      expect(await store.version(host)).toBe(before + 1);
      await store.startHosts([host], startMs + day);
      expect(await store.version(host)).toBe(startMs + day);
    });

    test("a name is one tenant's, and free when nothing is left", async () => {
      const id = await create({ name: "web" });
      expect(await codeOf(create({ name: "web" }))).toBe("name-taken");
      await create({ name: "web" }, globex);
      await store.append(callOf(), await intent(acme, id, "destroy"));
      expect(await codeOf(create({ name: "web" }))).toBe("name-taken");
      await store.report(host, said(id, "destroyed"), startMs);
      expect(await codeOf(create({ name: "web" }))).toBe("ok");
    });

    test("a destroy may be signed anew until nothing is left; a start no more", async () => {
      const id = await create();
      await store.append(callOf(), await intent(acme, id, "destroy"));
      expect(await codeOf(store.append(callOf(), await intent(acme, id, "start")))).toBe("workspace-destroyed");
      expect(await codeOf(store.append(callOf(), await intent(acme, id, "destroy")))).toBe("ok");
      expect((await listed(id))?.intents).toHaveLength(3);
      await store.report(host, said(id, "destroyed"), startMs);
      expect(await codeOf(store.append(callOf(), await intent(acme, id, "destroy")))).toBe("workspace-destroyed");
    });

    test("what the host refused is ended by a destroy", async () => {
      const id = await create({ name: "refused" });
      await store.report(host, said(id, "refused"), startMs);
      expect(await codeOf(create({ name: "refused" }))).toBe("name-taken");
      await store.append(callOf(), await intent(acme, id, "destroy"));
      expect(await codeOf(create({ name: "refused" }))).toBe("ok");
    });

    test("twenty creations of one name at once: one wins, and the others leave nothing", async () => {
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => codeOf(create({ name: "race" }))));
      expect(outcomes.filter((each) => each === "ok")).toHaveLength(1);
      expect(outcomes.filter((each) => each === "name-taken")).toHaveLength(19);
    });

    test("one of two intents with the same serial is kept, in any order", async () => {
      const id = await create();
      const same = { serial: serial + 1000 };
      const both = [await intent(acme, id, "stop", same), await intent(acme, id, "start", same)];
      const outcomes = await Promise.all(both.map((each) => codeOf(store.append(callOf(), each))));
      expect(outcomes.toSorted()).toEqual(["ok", "older-serial"]);
    });

    test("a host gets at most 64 intents of a workspace: the creation and the newest", async () => {
      const id = await create();
      const sent = [...((await listed(id))?.intents ?? [])];
      for (let n = 0; n < 70; n++) {
        const next = await intent(acme, id, n % 2 ? "start" : "stop");
        sent.push(next.jws);
        await store.append(callOf(), next);
      }
      expect((await listed(id))?.intents).toEqual([sent[0], ...sent.slice(-63)]);
    });

    test("a host speaks of its own workspaces only, and destroyed is its last word", async () => {
      const id = await create();
      expect(await store.report(newHostId(), said(id, "destroyed"), startMs)).toEqual([]);
      expect(await store.report(host, said(newWorkspaceId(), "running"), startMs)).toEqual([]);
      expect(await store.report(host, said(id, "running"), startMs)).toEqual([id]);
      expect(await store.report(host, said(id, "running"), startMs)).toEqual([]);
      await store.report(host, said(id, "destroyed"), startMs);
      expect(await store.report(host, said(id, "quarantined"), startMs)).toEqual([]);
      expect(await store.get(acme.anchor.tenant, id)).toMatchObject({ desired: "destroyed", revision: 3 });
      expect(await listed(id)).toBeUndefined();
      expect(await codeOf(store.append(callOf(), await intent(acme, id, "start")))).toBe("workspace-destroyed");
    });

    test("endpoints come, move and go with their revision", async () => {
      const id = await create({}, globex);
      const tenant = globex.anchor.tenant;
      const at = (url: string) => ({ observations: [], endpoints: [{ tenant, url }] });
      expect(await store.report(host, at("https://127.0.0.1:1"), startMs)).toContain(id);
      expect(await store.report(host, at("https://127.0.0.1:1"), startMs)).toEqual([]);
      await store.report(host, at("https://127.0.0.1:2"), startMs);
      expect(await store.get(tenant, id)).toMatchObject({
        endpoint: { host, url: "https://127.0.0.1:2" },
        revision: 3,
      });
      expect(await store.endpoints(acme.anchor.tenant)).toEqual([]);
      await store.report(host, { observations: [], endpoints: [] }, startMs);
      expect((await store.get(tenant, id))?.endpoint).toBeUndefined();
    });

    test("records are forgotten 7 days after their end, never while a host may have something", async () => {
      const [ended, asked] = [await create(), await create()];
      await store.report(host, said(ended, "destroyed"), startMs);
      await store.append(callOf(), await intent(acme, asked, "destroy"));
      await store.prune(startMs + 7 * day - 1);
      expect(await codeOf(store.get(acme.anchor.tenant, ended))).toBe("ok");
      await store.prune(startMs + 7 * day);
      expect(await codeOf(store.get(acme.anchor.tenant, ended))).toBe("not-found");
      await store.prune(startMs + 400 * day);
      expect(await codeOf(store.get(acme.anchor.tenant, asked))).toBe("ok");
      expect((await listed(asked))?.intents).toHaveLength(2);
    });

    test("idempotency keys last 24 hours", async () => {
      const first = await intent(acme, newWorkspaceId(), "create");
      const again = await intent(acme, newWorkspaceId(), "create");
      const send = (nowMs: number, what: typeof first, digest: string) =>
        codeOf(store.create(callOf({ key: "k", digest, nowMs }), what, host));
      expect(await send(startMs, first, "1")).toBe("ok");
      expect(await send(startMs + day - 1, again, "2")).toBe("idempotency-key-reused");
      expect(await send(startMs + day, again, "2")).toBe("ok");
    });

    test("load counts what is not ended", async () => {
      const [before] = await store.loads([host]);
      const id = await create({ memoryMib: 512 });
      const [during, unknown] = await store.loads([host, newHostId()]);
      await store.report(host, said(id, "destroyed"), startMs);
      const [after] = await store.loads([host]);
      expect((during?.memoryMib ?? 0) - (before?.memoryMib ?? 0)).toBe(512);
      expect(after).toEqual(before);
      expect(unknown).toMatchObject({ workspaces: 0, memoryMib: 0 });
    });

    test("it is opened again with everything in it", async () => {
      const id = await create({ name: "kept" });
      await using second = await openDatabase(config());
      expect(await new Store(second).get(acme.anchor.tenant, id)).toMatchObject({ name: "kept" });
    });

    test("a database of a newer program is refused in one sentence, and untouched", async () => {
      await open.db
        .insertInto("kysely_migration" as never)
        .values({ name: "0009-later", timestamp: "x" } as never)
        .execute();
      await expect(openDatabase(config())).rejects.toMatchObject({
        code: "database-newer",
        message: expect.stringContaining("0009-later"),
      });
    });
  });
}
