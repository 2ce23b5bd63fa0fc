import { existsSync, mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from "node:fs";
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
 * link to the home, which makes it atomic; one whose home is gone is free, and taken only when no other range is.
 * @returns the first uid of the range
 * @throws HostError `uids` when all are taken
 */
export function claimUidRange(home: string, folder = registry): number {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const unclaimed: number[] = [];
  const stale: number[] = [];
  for (let n = 0; n < ranges; n++) {
    const holder = readClaim(join(folder, String(n)));
    if (holder === home) return first + n * uidOffsets.rangeSize;
    if (holder === undefined) unclaimed.push(n);
    else if (isGone(holder)) stale.push(n);
  }
  for (const n of unclaimed) if (claim(join(folder, String(n)), home)) return first + n * uidOffsets.rangeSize;
  for (const n of stale) if (takeOver(join(folder, String(n)), home)) return first + n * uidOffsets.rangeSize;
  throw new HostError("uids", `all ${ranges} ranges of user ids are taken; remove stale links in ${folder}`);
}

export function releaseUidRange(home: string, folder = registry): void {
  for (let n = 0; n < ranges; n++) {
    const path = join(folder, String(n));
    if (readClaim(path) === home) rmSync(path, { force: true });
  }
}

function readClaim(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

const isGone = (holder: string): boolean => !existsSync(join(holder, "home.json"));

function claim(path: string, home: string): boolean {
  try {
    symlinkSync(home, path);
    return true;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false; // somebody was faster
    throw error;
  }
}

/** Who is first to move a stale claim away may take its place: removed, it could be another's fresh one by then. */
function takeOver(path: string, home: string): boolean {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false; // somebody was faster
    throw error;
  }
  const holder = readClaim(aside);
  const stale = holder === undefined || isGone(holder);
  if (!stale) claim(path, holder);
  rmSync(aside, { force: true });
  return stale && claim(path, home);
}
