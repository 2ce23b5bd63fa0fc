import { linkSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { FetchedDeb } from "./debs.ts";
import { run } from "./run.ts";

/**
 * A Debian archive of exactly these packages, in a folder: with it as its only source, mmdebstrap can install nothing
 * that the lock does not name, and needs no network.
 * @returns the line for apt. The archive is not signed; its packages were checked one by one against the lock.
 */
export async function makeArchive(debs: readonly FetchedDeb[], folder: string): Promise<string> {
  mkdirSync(folder);
  const stanzas: string[] = [];
  for (const deb of debs) {
    const file = basename(deb.path);
    linkSync(deb.path, join(folder, file));
    const control = (await run(["dpkg-deb", "-f", deb.path])).trimEnd();
    stanzas.push(`${control}\nFilename: ./${file}\nSize: ${statSync(deb.path).size}\nSHA256: ${deb.sha256}\n`);
  }
  writeFileSync(join(folder, "Packages"), stanzas.join("\n"));
  return `deb [trusted=yes] copy:${folder} ./`;
}
