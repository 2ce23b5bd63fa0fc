import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newTenantId, newWorkspaceId, type WorkspaceId } from "@exai/base";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readLaunch, readStatus } from "./records.ts";
import { Vms } from "./vms.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "exai-vms-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const open = (count = 10, folder = root) =>
  new Vms({ vmsFolder: join(folder, "vms"), runFolder: join(folder, "run"), vmUids: { first: 5000, count } });

test("a uid rests as long as possible before it comes again", async () => {
  const vms = open(3);
  const tenant = newTenantId();
  const [a, b] = [newWorkspaceId(), newWorkspaceId()];
  expect(vms.claim(tenant, a, 64).uid).toBe(5000);
  await vms.forget(a);
  expect(vms.claim(tenant, a, 64).uid).toBe(5001);
  expect(vms.claim(tenant, b, 64).uid).toBe(5002);
});

test("whose it is survives; a claim without a record does not", () => {
  const tenant = newTenantId();
  const [kept, torn] = [newWorkspaceId(), newWorkspaceId()];
  open().claim(tenant, kept, 64);
  mkdirSync(join(root, "vms", torn));
  writeFileSync(join(root, "vms", torn, "tenant.json.new"), "{");
  const again = open();
  expect(again.find(tenant, kept)).toMatchObject({ uid: 5000, diskMib: 64 });
  expect(again.find(newTenantId(), kept)).toBeUndefined();
  expect(again.of(tenant)).toEqual([kept]);
  expect(existsSync(join(root, "vms", torn))).toBe(false);
});

test("a record that a power cut tore is none where nothing was ever launched", () => {
  const tenant = newTenantId();
  for (const content of ["", "\0".repeat(90), '{"version":1,"tena']) {
    const torn = newWorkspaceId();
    mkdirSync(join(root, "vms", torn), { recursive: true });
    writeFileSync(join(root, "vms", torn, "tenant.json"), content);
    expect(open().find(tenant, torn)).toBeUndefined();
    expect(existsSync(join(root, "vms", torn))).toBe(false);
  }
});

test("one record that can't be read is in nobody else's way, and never passes for absent", () => {
  const tenant = newTenantId();
  const [kept, broken, next] = [newWorkspaceId(), newWorkspaceId(), newWorkspaceId()];
  const before = open(2);
  before.claim(tenant, kept, 64);
  before.claim(tenant, broken, 64);
  const folder = join(root, "vms", broken);
  writeFileSync(join(folder, "overlay.ext4"), "a disk");
  chownSync(join(folder, "overlay.ext4"), 5001, 5001);
  writeFileSync(join(folder, "launch.json"), "{}");
  writeFileSync(join(folder, "tenant.json"), "");
  const vms = open(2);
  expect(vms.find(tenant, kept)).toMatchObject({ uid: 5000 });
  expect(vms.broken()).toEqual([[broken, expect.objectContaining({ code: "broken-state" })]]);
  for (const ask of [() => vms.find(tenant, broken), () => vms.claim(tenant, broken, 64)]) {
    expect(ask).toThrow(expect.objectContaining({ code: "broken-state" }));
  }
  // Its uid is nobody's but its disk's.
  expect(() => vms.claim(tenant, next, 64)).toThrow(expect.objectContaining({ code: "uids-exhausted" }));
  expect(readFileSync(join(folder, "overlay.ext4"), "utf8")).toBe("a disk");
});

test("what is no folder of a workspace's is left where it is, whatever its name", () => {
  open();
  const file = join(root, "vms", newWorkspaceId());
  writeFileSync(file, "an operator's");
  expect(open().all()).toEqual([]);
  expect(existsSync(file)).toBe(true);
});

test("no two VMs ever have one uid, whatever comes and goes and restarts", async () => {
  const step = fc.record({ what: fc.constantFrom("claim", "forget", "restart"), which: fc.nat(5) });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const folder = mkdtempSync(join(root, "run-"));
      const names = Array.from({ length: 6 }, () => newWorkspaceId());
      const tenant = newTenantId();
      let vms = open(4, folder);
      for (const { what, which } of steps) {
        const name = names[which] as WorkspaceId;
        if (what === "restart") vms = open(4, folder);
        if (what === "forget") await vms.forget(name);
        if (what === "claim" && vms.all().length < 4) vms.claim(tenant, name, 64);
        const uids = vms.all().map(([, record]) => record.uid);
        expect(new Set(uids).size).toBe(uids.length);
        expect(uids.every((uid) => uid >= 5000 && uid < 5004)).toBe(true);
      }
    }),
    { numRuns: 40 },
  );
});

test("a status line counts when its end is there", () => {
  const path = join(root, "status.json");
  const started = { tag: "t", pid: 5, startTime: 1, launcherPid: 4, launcherStartTime: 1 };
  const whole = `${JSON.stringify({ started })}\n${JSON.stringify({ exit: { signal: 9 } })}\n`;
  const first = whole.indexOf("\n");
  for (let length = 0; length <= whole.length; length++) {
    writeFileSync(path, whole.slice(0, length));
    const exit = length === whole.length ? { exit: { signal: 9 } } : {};
    expect(readStatus(path)).toEqual(length <= first ? undefined : { started, ...exit });
  }
});

test("a torn launch record is none", () => {
  const path = join(root, "launch.json");
  writeFileSync(path, "");
  expect(readLaunch(path)).toBeUndefined();
  expect(readLaunch(join(root, "missing"))).toBeUndefined();
});
