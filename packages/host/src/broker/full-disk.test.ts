import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newTenantId, newWorkspaceId, systemClock } from "@exai/base";
import type { IntentLedger } from "@exai/policy";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HostedWorkspace } from "./hosted.ts";
import type { HostedVm } from "./hosted-vm.ts";
import { Journal, type JournalEntry } from "./journal.ts";

/** The journal on a really full disk: a small file system of its own. */
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-journal-disk-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m,mode=0700", "exai-test", folder]);
});
afterEach(() => {
  execFileSync("umount", [folder]);
  rmdirSync(folder);
});

const ballast = (): string => join(folder, "ballast");
function fill(): void {
  for (let size = 1 << 20; size >= 1; size >>= 1) {
    try {
      for (;;) writeFileSync(ballast(), Buffer.alloc(size), { flag: "a" });
    } catch (error) {
      expect(error).toMatchObject({ code: "ENOSPC" });
    }
  }
}

function entry(): JournalEntry & { ledger: IntentLedger & { state: "live" } } {
  const workspace = newWorkspaceId();
  const tenant = newTenantId();
  const spec = { image: "0".repeat(64), cpus: 1, memoryMib: 256, diskMib: 64, ttlSeconds: 0, labels: {} };
  const ledger = {
    ...{ state: "live" as const, workspace, tenant, spec, createdAt: 1, createExpiresAt: 2, lastSerial: 3 },
    ...{ taken: ["first-one"], desired: "running" as const },
  };
  const state = { phase: "running" as const, answeredSerial: 3, boot: { kernel: "6.1", notEnforced: [] } };
  return { version: 1, workspace, tenant, ledger, halted: false, quarantined: false, state };
}

/** A microVM double that runs until it is killed. */
function start(one: JournalEntry, save: (entry: JournalEntry, contains: boolean) => void) {
  const steps: string[] = [];
  let running = true;
  const vm = {
    vmm: "qemu",
    accelerator: "tcg",
    restartClock: () => undefined,
    isRunning: async () => running,
    shutdown: async () => void steps.push("shutdown"),
    kill: async () => {
      steps.push("kill");
      running = false;
    },
    remove: async () => void steps.push("remove"),
    awaitExit: async (signal: AbortSignal) => {
      if (!signal.aborted) await once(signal, "abort");
    },
  } as unknown as HostedVm;
  const hosted = new HostedWorkspace(one, vm, {
    clock: systemClock,
    nowMs: () => Date.now(),
    tell: () => undefined,
    warn: () => undefined,
    save,
  });
  return { hosted, steps };
}

test("what stops or destroys is taken on a full disk, and is on the disk all the same", async () => {
  const journal = new Journal(folder);
  const one = entry();
  journal.save(one);
  fill();
  expect(() => journal.save(one)).toThrow(/ENOSPC/);
  const { hosted, steps } = start(one, (changed, contains) => journal.save(changed, contains));
  hosted.update({ halted: true });
  await vi.waitFor(() => expect(steps).toEqual(["shutdown", "kill"]));
  const written = () => JSON.parse(readFileSync(join(folder, `${one.workspace}.json`), "utf8")) as JournalEntry;
  await vi.waitFor(() => expect(written()).toMatchObject({ halted: true, state: { phase: "stopped" } }));
  expect(readdirSync(folder).filter((file) => file.endsWith(".new"))).toEqual([]);
  hosted.abandon();
});

test("it is taken even when nothing can be written, and written when that works again", async () => {
  const journal = new Journal(folder);
  const one = entry();
  journal.save(one);
  let broken = true;
  const { hosted, steps } = start(one, (changed, contains) => {
    if (broken) throw Object.assign(new Error("EIO"), { code: "EIO" });
    journal.save(changed, contains);
  });
  hosted.update({ halted: true });
  await vi.waitFor(() => expect(steps).toContain("kill"));
  expect(() => hosted.update({ halted: false })).toThrow("EIO"); // to start again is no containment
  expect(hosted.entry.halted).toBe(true);
  broken = false;
  await vi.waitFor(() => expect(journal.load()).toMatchObject([{ halted: true, state: { phase: "stopped" } }]), 5_000);
  hosted.abandon();
});

test("what is signed to be destroyed is written once, and once more when it is gone", async () => {
  const one = entry();
  const written: string[] = [];
  const { hosted, steps } = start(one, ({ ledger, state }) => void written.push(`${ledger.state} ${state.phase}`));
  const { desired: _, ...ledger } = one.ledger;
  hosted.update({ ledger: { ...ledger, state: "destroyed", by: "intent" } });
  await hosted.done;
  expect(steps).toEqual(["remove"]);
  expect(written).toEqual(["destroyed running", "destroyed destroyed"]);
});

test("a boot that can't be written down is not made", async () => {
  const journal = new Journal(folder);
  const one: JournalEntry = { ...entry(), halted: true, state: { phase: "stopped", answeredSerial: 3 } };
  journal.save(one);
  fill();
  const { hosted, steps } = start(one, (changed, contains) => journal.save(changed, contains));
  expect(() => hosted.update({ halted: false })).toThrow(/ENOSPC/);
  expect(steps).toEqual([]);
  rmSync(ballast());
  hosted.abandon();
});
