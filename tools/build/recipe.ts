import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { type PackageLock, parseLock } from "./package-lock.ts";
import { root } from "./paths.ts";

/** What goes into the base image, by name; `packages.lock` says which versions that is. */
export const recipeFolder = join(root, "images/base");
export const lockPath = join(recipeFolder, "packages.lock");

const recipe = z.strictObject({
  suite: z.string().regex(/^[a-z]+$/),
  packages: z.array(z.string().regex(/^[a-z0-9][a-z0-9+.-]*$/)).min(1),
  /** The Debian package that depends on the newest stock kernel. */
  kernel: z.string(),
  /** `name@version`. */
  npm: z.array(z.string().regex(/^[a-z0-9-]+@[0-9.]+$/)),
});
export type Recipe = z.infer<typeof recipe>;

export const readRecipe = (): Recipe =>
  recipe.parse(JSON.parse(readFileSync(join(recipeFolder, "recipe.json"), "utf8")));

export const readLock = (): PackageLock => parseLock(readFileSync(lockPath, "utf8"));
