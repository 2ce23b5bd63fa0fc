/** For tests only: appends events until it is killed, and prints the number of each that was acknowledged. */
import { generateKeyPairSync } from "node:crypto";
import { writeSync } from "node:fs";
import type { TenantId } from "@exai/base";
import { openSpool } from "../spool.ts";

const [folder = "", tenant = "", logKey = ""] = process.argv.slice(2);
const gapKey = generateKeyPairSync("ed25519").privateKey;
const options = { folder, tenant: tenant as TenantId, writer: "channel", logKey, quotaBytes: 64 << 20, gapKey };
const spool = await openSpool(options);

async function append(lane: number): Promise<void> {
  for (let at = 0; ; at++) {
    const target = `${process.pid}.${lane}.${at}`;
    const detail = { argv: ["x".repeat((at * 37) % 3000)] };
    await spool.grant({ ts: Date.now(), actor: "a", action: "process.start", target, outcome: "ok", detail });
    // Synchronous: what was acknowledged must be out before the next instruction can be the last.
    writeSync(1, `${target}\n`);
  }
}
await Promise.all([0, 1, 2, 3].map(append));
