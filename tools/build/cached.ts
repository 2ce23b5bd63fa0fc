import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from "node:fs";
import { basename, join, relative } from "node:path";
import { lockFile } from "./lock.ts";
import { cachePaths } from "./paths.ts";

/** How many results of one kind are kept; the least lately used go. */
const kept = 3;

export interface Cached {
  folder: string;
  hit: boolean;
}

/**
 * A build step whose result depends on `inputs` alone: built once, in a folder that appears whole or not at all.
 * @param build fills the folder it is given
 * @param options.buildFolder where results are kept, when it is not the cache
 */
export async function cached(
  kind: string,
  inputs: readonly (string | Uint8Array)[],
  build: (folder: string) => Promise<void>,
  options: { onWait?: (pid: number) => void; buildFolder?: string | undefined } = {},
): Promise<Cached> {
  const parent = join(options.buildFolder ?? cachePaths().build, kind);
  mkdirSync(parent, { recursive: true });
  const folder = join(parent, digestOf(inputs));
  if (touch(folder)) return { folder, hit: true };
  using _lock = await lockFile(join(parent, ".lock"), options.onWait);
  if (touch(folder)) return { folder, hit: true };
  // Under the lock nobody else builds this kind: what lies around was left by one that was killed.
  for (const entry of readdirSync(parent))
    if (entry.startsWith(".new-")) rmSync(join(parent, entry), { recursive: true });
  const fresh = mkdtempSync(join(parent, ".new-"));
  try {
    await build(fresh);
    // mkdtemp makes it for us alone; nothing in it is secret.
    chmodSync(fresh, 0o755);
    renameSync(fresh, folder);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    throw error;
  }
  prune(parent);
  return { folder, hit: false };
}

/** The result that `makeCurrent` chose last, for who does not know what it was made of. */
export const currentOf = (kind: string): string => join(cachePaths().build, kind, ".current");

/** Relative, so that it leads to the same place where the cache is mounted under another name. */
export function makeCurrent(kind: string, { folder }: Cached): void {
  const link = currentOf(kind);
  rmSync(`${link}.new`, { force: true });
  symlinkSync(basename(folder), `${link}.new`);
  renameSync(`${link}.new`, link);
}

function touch(folder: string): boolean {
  if (!existsSync(folder)) return false;
  const now = new Date();
  utimesSync(folder, now, now);
  return true;
}

function prune(parent: string): void {
  const entries = readdirSync(parent).filter((entry) => !entry.startsWith("."));
  const byAge = entries
    .map((entry) => ({ entry, at: statSync(join(parent, entry)).mtimeMs }))
    .sort((a, b) => b.at - a.at);
  for (const { entry } of byAge.slice(kept)) rmSync(join(parent, entry), { recursive: true });
}

/** Length-prefixed, so that no two lists of inputs hash alike. */
export function digestOf(inputs: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const input of inputs) {
    const bytes = Buffer.from(input);
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return hash.digest("hex").slice(0, 32);
}

/** Names and contents of every file below `folder`, for `cached`'s inputs. */
export function treeInputs(folder: string, skip: (path: string) => boolean = () => false): (string | Uint8Array)[] {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !skip(relative(folder, path)))
    .sort();
  return files.flatMap((path) => [relative(folder, path), readFileSync(path)]);
}
