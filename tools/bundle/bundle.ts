import { mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { rolldown } from "rolldown";
import { bundle, hasFreshBundle, sourceStamp } from "../../packages/cli/src/fresh.mjs";

const keptMs = 86_400_000;
const root = join(import.meta.dirname, "../..");

/**
 * The CLI in a few files instead of some hundreds, which is half of what a start costs. The launcher takes it only while it
 * is made from the sources as they are, so that nobody ever runs an old one; without it the sources run.
 * @returns whether it was there already
 */
export async function bundleCli(): Promise<{ folder: string; hit: boolean }> {
  if (hasFreshBundle()) return { folder: bundle.folder, hit: true };
  const stamp = sourceStamp();
  const fresh = `${bundle.folder}.new-${process.pid}`;
  mkdirSync(dirname(bundle.folder), { recursive: true });
  try {
    const build = await rolldown({
      input: { main: join(root, "packages/cli/src/main.ts") },
      platform: "node",
      // The operator's part is a program of its own, and is loaded from its sources.
      external: ["@exai/host"],
      logLevel: "warn",
    });
    await build.write({ dir: fresh, format: "esm", minify: true, chunkFileNames: "[name]-[hash].js" });
    await build.close();
    place(fresh);
    writeFileSync(bundle.stamp, stamp);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  return { folder: bundle.folder, hit: false };
}

/**
 * Parts have names by content and old ones stay for a day, so that a CLI which runs now still finds its own; `main.js`, which
 * names the parts, comes last.
 */
function place(fresh: string): void {
  mkdirSync(bundle.folder, { recursive: true });
  for (const name of readdirSync(bundle.folder)) {
    const path = join(bundle.folder, name);
    if (Date.now() - statSync(path).mtimeMs > keptMs) rmSync(path);
  }
  for (const name of readdirSync(fresh).sort((a, b) => Number(a === "main.js") - Number(b === "main.js"))) {
    renameSync(join(fresh, name), join(bundle.folder, name));
  }
}
