import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Home } from "../home/home.ts";
import { lockEnrolment } from "../home/lock.ts";
import { makeTestHome } from "../testing/home.fixture.ts";
import { enrolHost } from "./host.ts";
import { createLocalTenant, enrolledTenants } from "./tenants.ts";

let made: ReturnType<typeof makeTestHome>;
let home: Home;
beforeEach(() => {
  made = makeTestHome();
  ({ home } = made);
});
afterEach(() => made[Symbol.dispose]());

const hostile = ["x/../../etc/demo", "..", "a b", "A", "-a", "a-", "a\n", "", "a".repeat(64)];

describe("a tenant's name", () => {
  it("that could lead a file elsewhere makes no keys and no anchor", async () => {
    const host = await enrolHost(home, Date.now());
    for (const name of hostile) {
      expect(() => createLocalTenant(home, name, host, "/images"), name).toThrow(/a tenant's name holds 1 to 63/);
    }
    expect(readdirSync(home.paths.clients)).toEqual([]);
    expect(createLocalTenant(home, "a-1", host, "/images").anchor.name).toBe("a-1");
  });

  it("is refused in an anchor that lies in the home, too", async () => {
    const { anchor } = createLocalTenant(home, "demo", await enrolHost(home, Date.now()), "/images");
    const file = join(home.paths.tenantAnchors, `${anchor.tenant}.json`);
    const good = JSON.parse(readFileSync(file, "utf8"));
    for (const name of hostile) {
      writeFileSync(file, JSON.stringify({ ...good, name }));
      expect(() => enrolledTenants(home), name).toThrow(/is not a tenant's anchor/);
    }
  });
});

describe("enrolment", () => {
  it("gives no two tenants one uid, however many come at once", async () => {
    const host = await enrolHost(home, Date.now());
    await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        using _lock = await lockEnrolment(home.paths.home);
        createLocalTenant(home, `tenant-${n}`, host, "/images");
      }),
    );
    expect(new Set(enrolledTenants(home).map(({ channelUid }) => channelUid)).size).toBe(20);
  });

  it("that is refused leaves no keys behind, and one that is not has a profile", async () => {
    const host = await enrolHost(home, Date.now());
    const { anchor } = createLocalTenant(home, "demo", host, "/images");
    expect(() => createLocalTenant(home, "demo", host, "/images")).toThrow(/enrolled already/);
    expect(readdirSync(home.paths.clients)).toEqual([anchor.tenant]);
    expect(readdirSync(join(home.paths.clients, anchor.tenant)).sort()).toEqual([
      "log.key",
      "profile.json",
      "signing.key",
    ]);
  });

  it("guesses no uid", async () => {
    const { anchor } = createLocalTenant(home, "demo", await enrolHost(home, Date.now()), "/images");
    for (const text of ["", "x", "-1", "99999", "1e3"]) {
      writeFileSync(join(home.paths.tenantAnchors, `${anchor.tenant}.uid`), text);
      expect(() => enrolledTenants(home), text).toThrow(/holds no uid/);
    }
  });

  it("refuses two tenants with one uid, which would open each other's sockets", async () => {
    const host = await enrolHost(home, Date.now());
    const [a, b] = ["a", "b"].map((name) => createLocalTenant(home, name, host, "/images").anchor.tenant);
    const uidOf = (tenant = "") => join(home.paths.tenantAnchors, `${tenant}.uid`);
    writeFileSync(uidOf(b), readFileSync(uidOf(a)));
    expect(() => enrolledTenants(home)).toThrow(/have one uid/);
  });
});
