import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newTenantId } from "@exai/base";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { AuditEvent } from "./event.ts";
import { openGap } from "./gap.ts";
import { rawPublicKey } from "./hpke.ts";
import { readSpool, type SpoolItem } from "./read.ts";
import { openEvent } from "./seal.ts";
import { openSpool, type Spool } from "./spool.ts";

const logKeys = generateKeyPairSync("x25519");
const gapKeys = generateKeyPairSync("ed25519");
const tenant = newTenantId();
const place = { tenant, writer: "channel" };
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-spool-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (quotaBytes = 8 << 20): Promise<Spool> =>
  openSpool({
    folder,
    ...place,
    logKey: rawPublicKey(logKeys.publicKey).toString("base64url"),
    quotaBytes,
    gapKey: gapKeys.privateKey,
  });

const event = (target: string, size = 0): AuditEvent => ({
  ts: 1_700_000_000_000,
  actor: "alice",
  action: "process.start",
  target,
  outcome: "ok",
  detail: { argv: ["/bin/true", "x".repeat(size)] },
});

async function readAll(last = 0): Promise<SpoolItem[]> {
  return Array.fromAsync(readSpool(folder, { last }));
}

const targets = (items: SpoolItem[]): string[] =>
  items.map((item) => {
    if (item.kind === "gap") return `gap ${openGap(place, item.payload).count}`;
    if (item.kind === "broken") return "broken";
    return openEvent(logKeys.privateKey, { ...place, sequence: item.sequence }, item.payload).target;
  });

test("events come back in order, sealed, with a sequence of their own", async () => {
  {
    await using spool = await open();
    await Promise.all(Array.from({ length: 500 }, (_, at) => spool.grant(event(`t${at}`))));
  }
  const items = await readAll();
  expect(items.map((item) => item.sequence)).toEqual(Array.from({ length: 501 }, (_, at) => at + 1));
  expect(targets(items)).toEqual(["channel", ...Array.from({ length: 500 }, (_, at) => `t${at}`)]);
  for (const name of readdirSync(folder)) {
    const bytes = readFileSync(join(folder, name));
    expect(bytes.includes("alice") || bytes.includes("/bin/true")).toBe(false);
  }
  expect(targets(await readAll(3))).toEqual(["t497", "t498", "t499"]);
});

test("a second process goes on where the first ended, over many segments", async () => {
  for (let round = 0; round < 3; round++) {
    await using spool = await open(1 << 20);
    for (let at = 0; at < 12; at++) await spool.grant(event(`${round}.${at}`, 20_000));
  }
  expect(readdirSync(folder).filter((name) => name.startsWith("seg-")).length).toBeGreaterThan(2);
  const items = await readAll();
  expect(items.map((item) => item.sequence)).toEqual(Array.from({ length: 39 }, (_, at) => at + 1));
  expect(targets(await readAll(14)).at(0)).toBe("1.11");
});

test("a torn last record is cut and the sequence goes on", async () => {
  {
    await using spool = await open();
    await spool.grant(event("kept"));
  }
  const file = join(folder, readdirSync(folder).filter((name) => name.startsWith("seg-"))[0] ?? "");
  writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.from([0, 0, 1, 0, 1, 0, 0])]));
  {
    await using spool = await open();
    await spool.grant(event("after"));
  }
  expect(targets(await readAll())).toEqual(["channel", "kept", "channel", "after"]);
});

test("a changed record shows, and what comes after a restart can still be read", async () => {
  {
    await using spool = await open();
    for (const target of ["a", "b", "c"]) await spool.grant(event(target));
  }
  const file = join(folder, readdirSync(folder).filter((name) => name.startsWith("seg-"))[0] ?? "");
  const bytes = readFileSync(file);
  bytes[bytes.length - 40] = (bytes[bytes.length - 40] ?? 0) ^ 1; // in the last record
  const changed = Buffer.from(bytes);
  writeFileSync(file, changed);
  expect(targets(await readAll())).toEqual(["channel", "a", "b"]);
  {
    await using spool = await open();
    await spool.grant(event("after"));
  }
  // The damaged record stays on the disk as evidence, and its sequence was used again by who could not read it.
  expect(readFileSync(file).equals(changed)).toBe(true);
  expect(targets(await readAll())).toEqual(["channel", "a", "b", "channel", "after"]);
});

test("a record in an older segment that was changed shows as broken", async () => {
  {
    await using spool = await open(1 << 20);
    for (let at = 0; at < 12; at++) await spool.grant(event(`${at}`, 20_000));
  }
  const file = join(
    folder,
    readdirSync(folder)
      .filter((name) => name.startsWith("seg-"))
      .sort()[0] ?? "",
  );
  const bytes = readFileSync(file);
  bytes[bytes.length - 100] = (bytes[bytes.length - 100] ?? 0) ^ 1;
  writeFileSync(file, bytes);
  const all = targets(await readAll());
  expect(all).toContain("broken");
  expect(all.at(-1)).toBe("11");
  rmSync(file);
  expect(targets(await readAll()).at(-1)).toBe("11");
});

test("at the quota grants fail and containing steps use the reserve, then a signed gap", async () => {
  const size = 10_000;
  {
    await using spool = await open(200_000);
    let granted = 0;
    const refusal = await (async () => {
      for (; ; granted++) await spool.grant(event(`g${granted}`, size));
    })().catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: "no-space" });
    expect(granted).toBeGreaterThan(5);
    for (let at = 0; at < 300; at++) spool.contain(event(`c${at}`));
    await spool.flush();
    expect(spool.stats.reserveInUse).toBe(true);
    expect(spool.stats.lost).toBeGreaterThan(10);
    expect(spool.stats.bytes).toBeLessThanOrEqual(200_000);
  }
  const kept = targets(await readAll());
  expect(kept).toContain("c0");
  expect(kept).not.toContain("c299");
  const inReserve = kept.filter((target) => target.startsWith("c") && target !== "channel").length;
  {
    await using spool = await open(8 << 20); // more space
    await spool.grant(event("again"));
  }
  const all = targets(await readAll());
  expect(all.slice(-3)).toEqual([`gap ${300 - inReserve}`, "channel", "again"]);
  const items = await readAll();
  expect(items.map((item) => item.sequence)).toEqual(Array.from({ length: items.length }, (_, at) => at + 1));
});

test("a gap signed by nobody is refused", async () => {
  const payload = Buffer.from(
    JSON.stringify({ count: 1, firstTs: 0, lastTs: 0, key: "A".repeat(43), signature: "A".repeat(86) }),
  );
  expect(() => openGap(place, payload)).toThrow(/not what its writer signed/);
});

test("a follower sees what is appended, also while the reserve is used", async () => {
  await using spool = await open();
  const seen: string[] = [];
  const abort = new AbortController();
  const reading = (async () => {
    for await (const item of readSpool(folder, { follow: true, signal: abort.signal })) {
      seen.push(...targets([item]));
      if (seen.length === 21) abort.abort();
    }
  })();
  for (let at = 0; at < 20; at++) await spool.grant(event(`t${at}`));
  await reading;
  expect(seen).toEqual(["channel", ...Array.from({ length: 20 }, (_, at) => `t${at}`)]);
});

test("an invalid event is refused when it grants and counted when it contains", async () => {
  await using spool = await open();
  await expect(spool.grant({ ...event("x"), actor: "" })).rejects.toMatchObject({ code: "invalid-event" });
  spool.contain({ ...event("x"), actor: "" });
  await spool.grant(event("y"));
  expect(targets(await readAll())).toEqual(["channel", "gap 1", "y"]);
});
