import { closeSync, constants, fstatSync, lstatSync, openSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { errorCode } from "@exai/base";
import { HostError } from "../errors.ts";
import { runOnFile } from "../exec.ts";

/**
 * One supervisor for a home: flock(2) on a file in it that only root can open, so that nobody else can take the lock.
 * `flock` of util-linux takes it on our own open file; it is free when that is closed, however we end, and a child does
 * not inherit it, since Node opens files with O_CLOEXEC.
 * @param home exists, and was checked to be root's own
 * @param patienceMs for a holder that is about to end
 * @throws HostError `locked`; `home` when it is gone; `missing` without `flock`
 */
export async function lockHome(home: string, patienceMs = 0): Promise<Disposable> {
  const lock = await tryFor(home, lockFile(home), patienceMs);
  if (lock !== undefined) return lock;
  throw new HostError("locked", `another 'exai up' runs on ${home}; see 'exai status' or choose another EXAI_HOME`);
}

/** Who enrols looks at what is there and adds to it: one at a time. It may be disposed of twice. */
export async function lockEnrolment(home: string): Promise<Disposable> {
  const lock = await tryFor(home, join(home, "anchors", "lock"), enrolMs);
  if (lock !== undefined) return lock;
  throw new HostError("locked", `somebody else enrols a tenant on ${home}; try again`);
}

const enrolMs = 30_000;

async function tryFor(home: string, path: string, patienceMs: number): Promise<Disposable | undefined> {
  for (const untilMs = Date.now() + patienceMs; ; ) {
    const lock = await tryLock(home, path);
    if (lock !== undefined) return lock;
    if (Date.now() >= untilMs) return undefined;
    await delay(20);
  }
}

/** Where a home's lock is; the last file to go when the home is removed. */
export const lockFile = (home: string): string => join(home, "lock");

async function tryLock(home: string, path: string): Promise<Disposable | undefined> {
  const fd = open(path, home);
  let held = true;
  const dispose = () => {
    if (held) closeSync(fd);
    held = false;
  };
  try {
    if ((await takeLock(fd)) && isStill(path, fd)) return { [Symbol.dispose]: dispose };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  return undefined;
}

function open(path: string, home: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (cause) {
    throw new HostError("home", `${home} can't be locked; if it was being removed, start again`, { cause });
  }
}

/** `down --purge` removes the file with its lock held: whoever waited for it then has a lock on nothing. */
function isStill(path: string, fd: number): boolean {
  const now = lstatSync(path, { throwIfNoEntry: false });
  const own = fstatSync(fd);
  return now !== undefined && now.ino === own.ino && now.dev === own.dev;
}

/** @returns false when somebody else has it, which flock(1) says by exit code 1 */
async function takeLock(fd: number): Promise<boolean> {
  try {
    const code = await runOnFile("/usr/bin/flock", ["--exclusive", "--nonblock", "3"], fd);
    if (code === 0 || code === 1) return code === 0;
    throw new HostError("home", `flock ended with ${code}; choose an EXAI_HOME on a local file system`);
  } catch (cause) {
    if (errorCode(cause) !== "ENOENT") throw cause;
    throw new HostError("missing", "flock is not installed; run: apt-get install util-linux", { cause });
  }
}
