import { readdirSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "@exai/base";
import { lockFile } from "./lock.ts";

/** The lock last, so that an 'exai up' meanwhile finds it taken, or no home, or one that is its own. */
export function removeHome(home: string): void {
  const lock = lockFile(home);
  for (const name of readdirSync(home)) {
    if (join(home, name) !== lock) rmSync(join(home, name), { recursive: true, force: true });
  }
  rmSync(lock, { force: true });
  try {
    rmdirSync(home);
  } catch (error) {
    if (errorCode(error) !== "ENOTEMPTY") throw error; // that 'exai up' was here already
  }
}
