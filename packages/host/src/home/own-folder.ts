import { lstatSync, mkdirSync, readlinkSync, type Stats } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { errorCode } from "@exai/base";
import { HostError } from "../errors.ts";

const othersWrite = 0o022;
const sticky = 0o1000;
/** As many as the kernel follows (path_resolution(7)). */
const maxLinks = 40;

/**
 * The real path of a folder that root alone can change: it, every folder above it and every link on the way are
 * root's, and nobody else may write to them. Above it, a sticky folder (`/tmp`) will do: there nobody swaps what is
 * root's. Root changes owners and modes in a stack's folder, so in one that somebody else may write to it would do so
 * to whatever that one planted there. Looks at each step itself, since a link is the attack.
 * @param missing what to do about folders that are not there
 * @throws HostError `home`
 */
export function ownFolder(path: string, missing: "make" | "refuse" | "allow"): string {
  const todo = parts(resolve(path));
  let at = "/";
  requireOwn("/", lstatSync("/"), todo.length === 0);
  for (let links = 0; ; ) {
    const name = todo.shift();
    if (name === undefined) return at;
    if (name === "..") {
      at = dirname(at);
      continue;
    }
    const next = join(at, name);
    const stat = look(next, missing);
    if (stat === undefined) return join(next, ...todo);
    if (stat.isSymbolicLink()) {
      if (stat.uid !== 0) throw notOwn(next, `is a link of user ${stat.uid}`);
      if (++links > maxLinks) throw notOwn(next, "is one of too many links");
      const target = readlinkSync(next);
      if (target.startsWith("/")) at = "/";
      todo.unshift(...parts(target));
      continue;
    }
    requireOwn(next, stat, todo.length === 0);
    at = next;
  }
}

const parts = (path: string): string[] => path.split("/").filter((part) => part !== "" && part !== ".");

function look(path: string, missing: "make" | "refuse" | "allow"): Stats | undefined {
  try {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found !== undefined || missing === "allow") return found;
    if (missing === "make") makeFolder(path);
    return lstatSync(path);
  } catch (cause) {
    const what = missing === "make" ? "made" : "looked at";
    throw new HostError("home", `${path} can't be ${what}; choose another EXAI_HOME`, { cause });
  }
}

/** Its parent has passed. If somebody was faster in a sticky one, the next look shows whose it is. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, 0o755);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  }
}

function requireOwn(path: string, stat: Stats, last: boolean): void {
  if (!stat.isDirectory()) throw notOwn(path, "is not a folder");
  if (stat.uid !== 0) throw notOwn(path, `belongs to user ${stat.uid}`);
  const safe = (stat.mode & othersWrite) === 0 || (!last && (stat.mode & sticky) !== 0);
  if (!safe) throw notOwn(path, "may be written to by others");
}

const notOwn = (path: string, what: string): HostError =>
  new HostError(
    "home",
    `${path} ${what}; a stack needs a folder that only root can change: choose another EXAI_HOME, or check what is there and mend it (chown root, chmod go-w)`,
  );
