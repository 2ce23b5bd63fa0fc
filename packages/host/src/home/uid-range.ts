import { existsSync, mkdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "@exai/base";
import { HostError } from "../errors.ts";
import { uidOffsets } from "./paths.ts";

const registry = "/var/lib/exai-uids";
/** Above what distributions and systemd's dynamic users (61184–65519) and containers' subuids (100000 on) commonly take. */
const first = 0x7000_0000;
const ranges = 256;

/** All uids that stacks of this machine may take. */
export const uidRanges = { first, last: first + ranges * uidOffsets.rangeSize - 1 } as const;

/**
 * Claims a range of uids for one home on this machine, so that two stacks never share a uid. A claim is a symbolic
 * link to the home, which makes it atomic; one whose home is gone is free.
 * @returns the first uid of the range
 * @throws HostError `uids` when all are taken
 */
export function claimUidRange(home: string, folder = registry): number {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const free: number[] = [];
  for (let n = 0; n < ranges; n++) {
    const holder = readClaim(join(folder, String(n)));
    if (holder === home) return first + n * uidOffsets.rangeSize;
    if (holder === undefined || !existsSync(join(holder, "home.json"))) free.push(n);
  }
  for (const n of free) if (take(join(folder, String(n)), home)) return first + n * uidOffsets.rangeSize;
  throw new HostError("uids", `all ${ranges} ranges of user ids are taken; remove stale links in ${folder}`);
}

export function releaseUidRange(home: string, folder = registry): void {
  for (let n = 0; n < ranges; n++) {
    const claim = join(folder, String(n));
    if (readClaim(claim) === home) rmSync(claim, { force: true });
  }
}

function readClaim(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function take(path: string, home: string): boolean {
  const stale = readClaim(path);
  if (stale !== undefined) rmSync(path, { force: true });
  try {
    symlinkSync(home, path);
    return true;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false; // somebody was faster
    throw error;
  }
}
