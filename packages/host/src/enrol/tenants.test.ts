import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Home, openHome } from "../home/home.ts";
import { releaseUidRange } from "../home/uid-range.ts";
import { enrolHost } from "./host.ts";
import { createLocalTenant, enrolledTenants } from "./tenants.ts";

let folder: string;
let home: Home;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-tenants-"));
  chmodSync(folder, 0o711);
  home = openHome(join(folder, "home"), 0);
});
afterEach(() => {
  releaseUidRange(home.paths.home);
  rmSync(folder, { recursive: true, force: true });
});

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
