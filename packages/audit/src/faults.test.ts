import { execFileSync, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { newTenantId } from "@exai/base";
import { expect, test } from "vitest";
import { openGap } from "./gap.ts";
import { rawPublicKey } from "./hpke.ts";
import { readSpool } from "./read.ts";
import { openEvent } from "./seal.ts";
import { openSpool } from "./spool.ts";

const logKeys = generateKeyPairSync("x25519");
const logKey = rawPublicKey(logKeys.publicKey).toString("base64url");
const place = { tenant: newTenantId(), writer: "channel" };
const gapKey = generateKeyPairSync("ed25519").privateKey;

async function targetsIn(folder: string): Promise<string[]> {
  const targets: string[] = [];
  let expected = 1;
  for await (const item of readSpool(folder)) {
    expect(item.sequence).toBe(expected++);
    if (item.kind === "broken") targets.push("broken");
    else if (item.kind === "gap") targets.push(`gap ${openGap(place, item.payload).count}`);
    else targets.push(openEvent(logKeys.privateKey, { ...place, sequence: item.sequence }, item.payload).target);
  }
  return targets;
}

test("kill -9 in the middle of appends: whatever was acknowledged is there, in an unbroken chain", async () => {
  const folder = mkdtempSync(join(tmpdir(), "exai-spool-"));
  try {
    const acknowledged: string[] = [];
    for (let round = 0; round < 5; round++) {
      const main = join(import.meta.dirname, "testing", "appender.ts");
      const child = spawn(process.execPath, [main, folder, place.tenant, logKey], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let printed = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        printed += text;
      });
      const closed = once(child, "close");
      while (printed.length < 400 && child.exitCode === null) await delay(5);
      await delay(7 * round);
      child.kill("SIGKILL");
      await closed;
      acknowledged.push(...printed.split("\n").slice(0, -1));
    }
    const targets = await targetsIn(folder);
    expect(targets).not.toContain("broken");
    expect(acknowledged.length).toBeGreaterThan(100);
    const there = new Set(targets);
    expect(acknowledged.filter((target) => !there.has(target))).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** A file system of its own that can really be full. */
class SmallDisk implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "exai-disk-"));
  constructor(kib: number) {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${kib}k`, "exai-test", this.folder]);
  }
  fill(): string {
    const path = join(this.folder, "ballast");
    for (let size = 1 << 20; size >= 1; size >>= 1) {
      try {
        for (;;) writeFileSync(path, Buffer.alloc(size), { flag: "a" });
      } catch (error) {
        expect(error).toMatchObject({ code: "ENOSPC" });
      }
    }
    return path;
  }
  [Symbol.dispose](): void {
    execFileSync("umount", [this.folder]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

test("a really full disk: grants fail, containing steps go on, and nothing of it is lost from sight", async () => {
  using disk = new SmallDisk(4096);
  const event = (target: string) =>
    ({
      ts: Date.now(),
      actor: "a",
      action: "process.start",
      target,
      outcome: "ok",
      detail: { argv: ["y".repeat(500)] },
    }) as const;
  {
    await using spool = await openSpool({ folder: disk.folder, ...place, logKey, quotaBytes: 64 << 20, gapKey });
    await spool.grant(event("before"));
    const ballast = disk.fill();
    const refusals = await Promise.allSettled(Array.from({ length: 40 }, (_, at) => spool.grant(event(`g${at}`))));
    const failed = refusals.filter((each) => each.status === "rejected");
    // The last block of the segment takes a few; then there is no space.
    expect(failed.length).toBeGreaterThan(30);
    for (const each of failed) expect(each.reason).toMatchObject({ code: "no-space" });

    const startMs = performance.now();
    for (let at = 0; at < 1000; at++) spool.contain(event(`c${at}`));
    expect(performance.now() - startMs).toBeLessThan(500);
    await spool.flush();
    expect(spool.stats.reserveInUse).toBe(true);
    expect(spool.stats.lost).toBeGreaterThan(100);
    expect(await targetsIn(disk.folder)).toContain("c0");

    rmSync(ballast);
    await spool.grant(event("after"));
    expect(spool.stats).toMatchObject({ reserveInUse: false, lost: 0 });
  }
  const targets = await targetsIn(disk.folder);
  const kept = targets.filter((target) => /^c\d/.test(target)).length;
  expect(targets.at(-1)).toBe("after");
  expect(targets.at(-2)).toBe(`gap ${1000 - kept}`);
  expect(targets).not.toContain("broken");
  expect(targets).not.toContain("g39");
});

test("a spool can be opened again on a disk that is still full", async () => {
  using disk = new SmallDisk(2048);
  const options = { folder: disk.folder, ...place, logKey, quotaBytes: 64 << 20, gapKey };
  const event = { ts: 1, actor: "a", action: "vm.exit", target: "x", outcome: "ok" } as const;
  {
    await using spool = await openSpool(options);
    await spool.grant(event);
  }
  const ballast = disk.fill();
  for (let round = 0; round < 3; round++) {
    await using spool = await openSpool(options);
    spool.contain({ ...event, target: `round ${round}` });
  }
  rmSync(ballast);
  {
    await using spool = await openSpool(options);
    await spool.grant({ ...event, target: "end" });
  }
  const targets = (await targetsIn(disk.folder)).filter((target) => target !== "channel");
  expect(targets).toEqual(["x", "round 0", "round 1", "round 2", "end"]);
});
