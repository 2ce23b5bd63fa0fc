import { lstatSync, readlinkSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { HostError } from "../errors.ts";
import { ownFolder } from "../home/own-folder.ts";

const othersWrite = 0o022;
const maxLinks = 40;

/**
 * A file, or what a link of root's leads to, that root alone can change: it, and every folder and link on the way.
 * @throws HostError `platform`
 */
export function requireOwnFile(path: string): void {
  let at = resolve(path);
  for (let links = 0; links <= maxLinks; links++) {
    const real = join(ownFolderOf(at, path), basename(at));
    const stat = lstatSync(real, { throwIfNoEntry: false });
    if (stat === undefined || stat.uid !== 0) break;
    if (stat.isSymbolicLink()) at = resolve(dirname(real), readlinkSync(real));
    else if (stat.isFile() && (stat.mode & othersWrite) === 0) return;
    else break;
  }
  throw notOwn(path);
}

function ownFolderOf(at: string, path: string): string {
  try {
    return ownFolder(dirname(at), "refuse");
  } catch (cause) {
    throw notOwn(path, cause);
  }
}

const notOwn = (path: string, cause?: unknown): HostError =>
  new HostError("platform", `${path} is no file that root alone can change`, { cause });
