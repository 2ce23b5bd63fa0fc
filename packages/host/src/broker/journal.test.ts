import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newTenantId, newWorkspaceId } from "@exai/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Capacity } from "./capacity.ts";
import { Journal, type JournalEntry } from "./journal.ts";
import { Notifier } from "./notifier.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-journal-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function entry(): JournalEntry {
  const workspace = newWorkspaceId();
  const tenant = newTenantId();
  const spec = { image: "0".repeat(64), cpus: 1, memoryMib: 256, diskMib: 64, ttlSeconds: 0, labels: {} };
  return {
    version: 1,
    workspace,
    tenant,
    ledger: {
      state: "live",
      workspace,
      tenant,
      spec,
      createdAt: 1,
      createExpiresAt: 2,
      lastSerial: 3,
      taken: ["first-one"],
      desired: "running",
    },
    halted: false,
    quarantined: false,
    state: { phase: "running", answeredSerial: 3, boot: { kernel: "6.1", notEnforced: [] } },
  };
}

describe("journal", () => {
  it("reads back what it wrote, and ignores what was never finished", () => {
    const journal = new Journal(folder);
    const one = entry();
    journal.save(one);
    writeFileSync(join(folder, `${newWorkspaceId()}.json.new`), "{");
    expect(journal.load()).toEqual([one]);
    journal.forget(one.workspace);
    expect(journal.load()).toEqual([]);
  });

  it("stops at a damaged entry instead of losing a workspace", () => {
    const journal = new Journal(folder);
    const one = entry();
    journal.save(one);
    writeFileSync(join(folder, `${one.workspace}.json`), `{"version":1}`);
    expect(() => journal.load()).toThrow(/is damaged/);
    expect(readdirSync(folder)).toContain(`${one.workspace}.json`);
  });
});

describe("capacity", () => {
  const mib = (memoryMib: number) => ({ memoryMib, cpus: 1 });

  it("never promises memory twice, and counts what it adopts", () => {
    const capacity = new Capacity({ memoryMib: 1000, vms: 3 });
    const [a, b, c, d] = [newWorkspaceId(), newWorkspaceId(), newWorkspaceId(), newWorkspaceId()];
    capacity.reserve(a, mib(600), undefined);
    capacity.reserve(a, mib(600), undefined);
    expect(capacity.promisedMib).toBe(600);
    expect(() => capacity.reserve(b, mib(500), undefined)).toThrow(/500 MiB of memory do not fit: 400 MiB are free/);
    capacity.adopt(b, mib(500));
    expect(capacity.promisedMib).toBe(1100);
    capacity.release(a);
    capacity.release(b);
    for (const each of [a, b, c]) capacity.reserve(each, mib(1), undefined);
    expect(() => capacity.reserve(d, mib(1), undefined)).toThrow(/at most 3 microVMs/);
  });

  it("never promises a core twice where cores are held, and any number of virtual CPUs where they are not", () => {
    const capacity = new Capacity({ memoryMib: 1000, vms: 9 });
    const [a, b, c, d] = [newWorkspaceId(), newWorkspaceId(), newWorkspaceId(), newWorkspaceId()];
    capacity.reserve(a, { memoryMib: 1, cpus: 2 }, 4);
    expect(() => capacity.reserve(b, { memoryMib: 1, cpus: 3 }, 4)).toThrow(
      "3 virtual CPUs need a core each: 2 of 4 are free on this host; stop a workspace first",
    );
    capacity.adopt(c, { memoryMib: 1, cpus: 9 });
    expect(() => capacity.reserve(b, { memoryMib: 1, cpus: 1 }, 4)).toThrow(/0 of 4 are free/);
    capacity.release(c);
    capacity.reserve(b, { memoryMib: 1, cpus: 2 }, 4);
    expect(capacity.promisedCpus).toBe(4);
    capacity.reserve(d, { memoryMib: 1, cpus: 99 }, undefined);
    expect(capacity.promisedCpus).toBe(103);
  });
});

describe("notifier", () => {
  it("loses no wake-up between two waits", async () => {
    const notifier = new Notifier();
    notifier.notify();
    const from = performance.now();
    await notifier.wait(5000);
    expect(performance.now() - from).toBeLessThan(1000);
    await notifier.wait(20);
    expect(performance.now() - from).toBeGreaterThanOrEqual(15);
  });
});
