import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";

export interface Owner {
  uid: number;
  gid: number;
}

/** Writes a file as a whole or not at all, durably: temporary name, fsync, rename, fsync of the folder. */
export function writeFileDurably(path: string, content: string, mode = 0o644, owner?: Owner): void {
  const temporary = `${path}.new`;
  const fd = openSync(temporary, "w", mode);
  try {
    chmodSync(temporary, mode); // the umask took bits away
    if (owner !== undefined) chownSync(temporary, owner.uid, owner.gid);
    writeFileSync(fd, content); // all of it, or it throws: near the end of a disk a write may be short
    fsyncSync(fd);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true }); // what it holds is room that others may need now
    throw error;
  } finally {
    closeSync(fd);
  }
  syncFolder(dirname(path));
}

export function syncFolder(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Makes a folder with exactly this mode and owner, also when it was there. */
export function ensureFolder(path: string, mode: number, owner?: Owner): void {
  mkdirSync(path, { recursive: true, mode });
  chmodSync(path, mode);
  if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
}
