import { type BigIntStats, constants, type Dirent } from "node:fs";
import { lstat, readdir, readlink, realpath } from "node:fs/promises";
import { resolve } from "node:path";
import { errorCode } from "@exai/base";
import { SdkError } from "../errors.ts";
import { linkEscapes, showPath, treeLimits } from "./paths.ts";

export type WalkedKind = "file" | "directory" | "symlink" | "other";

export interface Walked {
  /** Where it lies here, as bytes: names need not be text. */
  readonly localPath: Buffer;
  /** Relative to the root, `/`-separated; empty for the root. */
  readonly path: Buffer;
  readonly kind: WalkedKind;
  readonly stat: BigIntStats;
  readonly linkTarget: Buffer | undefined;
}

const slash = Buffer.from("/");

/**
 * Entries of a local file or tree, parents before children, names in byte order. A root that is a link is followed, as
 * the user named it; links below it are kept as links.
 * @throws SdkError `local` (it is missing or unreadable), `unsafe-tree` (a link leads out, too many entries)
 */
export async function* walk(root: string): AsyncGenerator<Walked> {
  const top = Buffer.from(resolve(root));
  const stack: { localPath: Buffer; path: Buffer; depth: number }[] = [
    { localPath: await followed(top), path: Buffer.alloc(0), depth: 0 },
  ];
  let entries = 0;
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    if (++entries > treeLimits.entries) throw new SdkError("unsafe-tree", `more than ${treeLimits.entries} entries`);
    if (at.depth > treeLimits.depth) throw new SdkError("unsafe-tree", `deeper than ${treeLimits.depth} folders`);
    const stat = await local(at.localPath, lstat(at.localPath, { bigint: true }));
    const kind = kindOf(Number(stat.mode));
    let linkTarget: Buffer | undefined;
    if (kind === "symlink") {
      linkTarget = await local(at.localPath, readlink(at.localPath, "buffer"));
      if (linkEscapes(linkTarget, at.depth - 1)) {
        const what = `the link ${showPath(at.path)} leads out of the tree (to ${showPath(linkTarget)})`;
        throw new SdkError("unsafe-tree", `${what}; remove it or copy what it leads to`);
      }
    }
    yield { ...at, kind, stat, linkTarget };
    if (kind !== "directory") continue;
    const names = await local(at.localPath, readdir(at.localPath, { encoding: "buffer", withFileTypes: true }));
    for (const name of sorted(names)) {
      const path = at.path.length === 0 ? name : Buffer.concat([at.path, slash, name]);
      stack.push({ localPath: Buffer.concat([at.localPath, slash, name]), path, depth: at.depth + 1 });
    }
  }
}

/** Last first, since the stack gives them back in reverse. */
const sorted = (entries: Dirent<Buffer>[]): Buffer[] => entries.map((entry) => entry.name).sort((a, b) => b.compare(a));

async function followed(path: Buffer): Promise<Buffer> {
  if (!(await local(path, lstat(path))).isSymbolicLink()) return path;
  return await local(path, realpath(path, "buffer"));
}

function kindOf(mode: number): WalkedKind {
  switch (mode & constants.S_IFMT) {
    case constants.S_IFREG:
      return "file";
    case constants.S_IFDIR:
      return "directory";
    case constants.S_IFLNK:
      return "symlink";
    default:
      return "other";
  }
}

/** Names the path in what the file system says. */
export async function local<T>(path: Uint8Array, step: Promise<T>): Promise<T> {
  try {
    return await step;
  } catch (cause) {
    if (cause instanceof SdkError) throw cause;
    const why = errorCode(cause) === "ENOENT" ? "does not exist" : `cannot be used (${errorCode(cause) ?? "failed"})`;
    throw new SdkError("local", `${showPath(path)} ${why}`, { cause });
  }
}
