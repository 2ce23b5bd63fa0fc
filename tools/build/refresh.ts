import { writeFileSync } from "node:fs";
import { available, resolveAll } from "./apt.ts";
import { fetchNpm, npmIntegrity } from "./debs.ts";
import { BuildError } from "./errors.ts";
import { formatLock, type LockedDeb, type LockedNpm } from "./package-lock.ts";
import { lockPath, type RecipeName, readRecipe } from "./recipe.ts";
import { run } from "./run.ts";

/** Resolves one recipe against what Debian has today and writes the lock. Run 'apt-get update' before. */
export async function refresh(name: RecipeName, nowMs: number): Promise<string> {
  const recipe = readRecipe(name);
  const debs = await resolveAll(recipe.packages);
  const kernel = await newestKernel(recipe.kernel);
  const npm: LockedNpm[] = [];
  for (const each of recipe.npm) {
    const [name = "", version = ""] = each.split("@");
    npm.push(await lockNpm(name, version));
  }
  // Midnight: two refreshes on one day that find the same packages write the same lock.
  const epoch = Math.floor(nowMs / 86_400_000) * 86_400;
  writeFileSync(lockPath(name), formatLock({ epoch, kernel, debs, npm }));
  return `${debs.length} packages, ${kernel.name} ${kernel.version}, ${npm.map((each) => `${each.name} ${each.version}`).join(", ")}`;
}

async function newestKernel(metapackage: string): Promise<LockedDeb> {
  const depends = await run(["apt-cache", "depends", "--no-suggests", metapackage]);
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  const deb = name === undefined ? undefined : (await available([name])).get(name)?.[0];
  if (deb === undefined)
    throw new BuildError("missing", `apt does not know ${metapackage}; run 'apt-get update' first`);
  return deb;
}

/** The registry's own integrity, as npm tells it, is what the tarball is held to from then on. */
async function lockNpm(name: string, version: string): Promise<LockedNpm> {
  const integrity = (await run(["npm", "view", `${name}@${version}`, "dist.integrity"])).trim();
  const path = await fetchNpm({ name, version, integrity });
  return { name, version, integrity: npmIntegrity(path) };
}
