import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { available, download } from "./apt.ts";
import { BuildError } from "./errors.ts";
import { lockFile } from "./lock.ts";
import type { LockedDeb, LockedNpm } from "./package-lock.ts";
import { cachePaths } from "./paths.ts";
import { run } from "./run.ts";

export interface FetchOptions {
  /** Fail when Debian no longer has a locked version, instead of taking its successor. */
  strict: boolean;
  onNote: (text: string) => void;
}

/** One fetched package: what it is and where. With drift, what it is differs from what the lock says. */
export interface FetchedDeb extends LockedDeb {
  path: string;
}

/**
 * Brings every package into the cache, where it is known by its digest; with all of them there, nothing is asked.
 *
 * Debian removes a version from its mirrors when a security update replaces it. A fresh machine then can't have what
 * the lock names, and takes the successor from the same signed archive, with a note; a release build is strict.
 */
export async function fetchDebs(wanted: readonly LockedDeb[], options: FetchOptions): Promise<FetchedDeb[]> {
  const folder = cachePaths().debs;
  mkdirSync(folder, { recursive: true });
  const pathOf = (deb: LockedDeb): string => join(folder, `${deb.sha256}.deb`);
  const here = (debs: readonly LockedDeb[]) => debs.map((deb) => ({ ...deb, path: pathOf(deb) }));
  if (wanted.every((deb) => existsSync(pathOf(deb)))) return here(wanted);
  using _lock = await lockFile(join(folder, ".lock"));
  const missing = wanted.filter((deb) => !existsSync(pathOf(deb)));
  const chosen = await choose(missing, options);
  await fill(
    folder,
    [...chosen.values()].filter((deb) => !existsSync(pathOf(deb))),
    pathOf,
  );
  return here(wanted.map((deb) => chosen.get(deb.name) ?? deb));
}

async function choose(missing: readonly LockedDeb[], options: FetchOptions): Promise<Map<string, LockedDeb>> {
  const known = await available(missing.map(({ name }) => name));
  const chosen = new Map<string, LockedDeb>();
  const moved: string[] = [];
  for (const deb of missing) {
    const versions = known.get(deb.name) ?? [];
    const same = versions.find((each) => each.version === deb.version && each.sha256 === deb.sha256);
    const successor = versions[0];
    if (same === undefined && successor === undefined) {
      throw new BuildError("missing", `apt does not know the package ${deb.name}; run 'apt-get update' first`);
    }
    if (same === undefined) moved.push(deb.name);
    const taken = same ?? successor;
    if (taken !== undefined) chosen.set(deb.name, taken);
  }
  if (moved.length > 0) {
    const text = `Debian has replaced ${moved.length} of the locked packages (${moved.slice(0, 5).join(", ")}${moved.length > 5 ? ", …" : ""})`;
    if (options.strict) throw new BuildError("drift", `${text}; run 'npm run image:refresh' and review the lock`);
    options.onNote(`${text}; their successors are taken`);
  }
  return chosen;
}

async function fill(folder: string, debs: readonly LockedDeb[], pathOf: (deb: LockedDeb) => string): Promise<void> {
  const fresh = mkdtempSync(join(folder, ".new-"));
  try {
    await download(debs, fresh);
    const byDigest = new Map(debs.map((deb) => [deb.sha256, deb]));
    for (const file of readdirSync(fresh)) {
      const path = join(fresh, file);
      const deb = byDigest.get(createHash("sha256").update(readFileSync(path)).digest("hex"));
      if (deb === undefined) throw new BuildError("input", `${file} is not what the lock names: its digest differs`);
      renameSync(path, pathOf(deb));
    }
    const absent = debs.find((deb) => !existsSync(pathOf(deb)));
    if (absent !== undefined) throw new BuildError("missing", `apt did not fetch ${absent.name}`);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

/** The tarball of an npm package, by npm's own client, checked against the lock. */
export async function fetchNpm(wanted: LockedNpm): Promise<string> {
  const folder = cachePaths().npm;
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${wanted.name}-${wanted.version}.tgz`);
  if (!existsSync(path)) {
    const fresh = mkdtempSync(join(folder, ".new-"));
    try {
      await run(["npm", "pack", "--silent", "--prefer-offline", `${wanted.name}@${wanted.version}`], { cwd: fresh });
      renameSync(join(fresh, `${wanted.name}-${wanted.version}.tgz`), path);
    } finally {
      rmSync(fresh, { recursive: true, force: true });
    }
  }
  if (npmIntegrity(path) === wanted.integrity) return path;
  rmSync(path);
  throw new BuildError("input", `${wanted.name}-${wanted.version}.tgz is not what the lock names: its digest differs`);
}

export const npmIntegrity = (path: string): string =>
  `sha512-${createHash("sha512").update(readFileSync(path)).digest("base64")}`;
