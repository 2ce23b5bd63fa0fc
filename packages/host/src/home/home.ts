import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { newHostId } from "@exai/base";
import { z } from "zod";
import { HostError } from "../errors.ts";
import { ensureFolder, writeFileDurably } from "./files.ts";
import { ownFolder } from "./own-folder.ts";
import { type HomePaths, homePaths, uidOffsets } from "./paths.ts";
import { claimUidRange } from "./uid-range.ts";

/** Rises when an older program could not work with the folder any more. */
const version = 1;

const homeFile = z.strictObject({
  version: z.literal(version),
  /** Names namespaces, cgroups and the run folder of this stack. */
  stack: z.string().regex(/^[a-z2-7]{8}$/),
  createdAt: z.iso.datetime(),
});

export interface Home {
  readonly paths: HomePaths;
  readonly stack: string;
  readonly uidBase: number;
}

/**
 * Opens the state folder, or makes it. Nothing in it is changed before it is known to be root's own.
 * @throws HostError `newer-home`, `home`, `uids`
 */
export function openHome(path: string, nowMs: number): Home {
  const paths = prepareHome(path);
  if (!existsSync(paths.homeFile)) {
    const fresh = { version, stack: newHostId().slice(0, 8), createdAt: new Date(nowMs).toISOString() };
    writeFileDurably(paths.homeFile, `${JSON.stringify(fresh)}\n`);
  }
  const { stack } = readHome(paths);
  const uidBase = claimUidRange(paths.home);
  makeFolders(paths, uidBase);
  return { paths, stack, uidBase };
}

/**
 * The folder alone, so that there is something to lock before a home is opened.
 * @throws HostError `newer-home`, `home`
 */
export function prepareHome(path: string): HomePaths {
  const paths = homePaths(ownFolder(path, "make"));
  requireReachable(paths.home);
  if (existsSync(paths.homeFile)) readHome(paths);
  ensureFolder(paths.home, 0o711);
  return paths;
}

/** Most processes of a stack are not root: a folder above that only root enters would keep them out of their own. */
function requireReachable(home: string): void {
  for (let folder = dirname(home); folder !== "/"; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) !== 0) continue;
    throw new HostError(
      "home",
      `${home} lies below ${folder}, which only its owner enters; choose another EXAI_HOME or chmod o+x it`,
    );
  }
}

/**
 * A home that exists, as it is: its real place, and its stack's name.
 * @throws HostError `home` when there is none, or when it is not root's own and so may say anything
 */
export function findHome(path: string): { paths: HomePaths; stack: string } {
  if (!existsSync(homePaths(path).homeFile))
    throw new HostError("home", `${path} holds no stack; start one with 'exai up -d'`);
  const paths = homePaths(ownFolder(path, "refuse"));
  return { paths, stack: readHome(paths).stack };
}

function readHome(paths: HomePaths): z.infer<typeof homeFile> {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(paths.homeFile, "utf8"));
  } catch (cause) {
    throw new HostError("home", `${paths.homeFile} can't be read; restore it or choose another EXAI_HOME`, { cause });
  }
  const found = z.looseObject({ version: z.number() }).safeParse(value);
  if (found.success && found.data.version > version) {
    throw new HostError(
      "newer-home",
      `${paths.home} was written by a newer exai (format ${found.data.version}, this one knows ${version}); use that version`,
    );
  }
  const parsed = homeFile.safeParse(value);
  if (!parsed.success)
    throw new HostError("home", `${paths.homeFile} is damaged; restore it or choose another EXAI_HOME`);
  return parsed.data;
}

function makeFolders(paths: HomePaths, uidBase: number): void {
  const owner = (offset: number) => ({ uid: uidBase + offset, gid: uidBase + offset });
  for (const each of [paths.tenantAnchors, paths.releases, paths.logs]) ensureFolder(each, 0o755);
  ensureFolder(paths.spool, 0o755);
  ensureFolder(paths.vms, 0o711);
  ensureFolder(paths.clients, 0o700);
  // Root's own, like every folder in which root itself makes or reads something: an owner could plant links there.
  ensureFolder(paths.host, 0o711, { uid: 0, gid: 0 });
  ensureFolder(paths.journal, 0o700, owner(uidOffsets.broker));
  ensureFolder(paths.control, 0o700, owner(uidOffsets.control));
}
