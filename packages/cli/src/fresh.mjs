// Is there a bundle of the CLI, made from the sources as they are now? Plain JavaScript, since it runs before anything else.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../../..");

/** What goes into the bundle. */
const sources = ["base", "api", "audit", "sdk", "cli"].map((name) => join(root, "packages", name, "src"));

export const bundle = {
  folder: join(root, "build/cli"),
  main: join(root, "build/cli/main.js"),
  stamp: join(root, "build/cli/stamp"),
};

/** Number of source files and the time of the newest change among them and the lockfile. About one millisecond. */
export function sourceStamp() {
  let files = 0;
  let newestMs = statSync(join(root, "package-lock.json")).mtimeMs;
  for (const folder of sources) {
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || entry.name.includes(".test.") || entry.name.includes(".double.")) continue;
      files++;
      newestMs = Math.max(newestMs, statSync(join(entry.parentPath, entry.name)).mtimeMs);
    }
  }
  return `${files} ${newestMs}`;
}

export function hasFreshBundle() {
  try {
    return existsSync(bundle.main) && readFileSync(bundle.stamp, "utf8") === sourceStamp();
  } catch {
    return false;
  }
}
