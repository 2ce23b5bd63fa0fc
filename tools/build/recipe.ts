import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { type PackageLock, parseLock } from "./package-lock.ts";
import { root } from "./paths.ts";

/**
 * Folders of root file systems that are made of Debian packages: `recipe.json` says what goes in, by name,
 * `packages.lock` which versions that is, and `files/` is laid over it.
 */
export const recipeFolders = {
  /** What guests boot from. */
  base: join(root, "images/base"),
  /** The host in a VM that tests of the real VMM run in. */
  "nested-host": join(root, "tools/nested-host/image"),
} as const;
export type RecipeName = keyof typeof recipeFolders;

export const isRecipeName = (name: string): name is RecipeName => name in recipeFolders;

const recipe = z.strictObject({
  suite: z.string().regex(/^[a-z]+$/),
  packages: z.array(z.string().regex(/^[a-z0-9][a-z0-9+.-]*$/)).min(1),
  /** The Debian package that depends on the newest kernel of the flavour that is wanted. */
  kernel: z.string(),
  /** `name@version`. */
  npm: z.array(z.string().regex(/^[a-z0-9-]+@[0-9.]+$/)),
});
export type Recipe = z.infer<typeof recipe>;

export const lockPath = (name: RecipeName): string => join(recipeFolders[name], "packages.lock");

export const readRecipe = (name: RecipeName = "base"): Recipe =>
  recipe.parse(JSON.parse(readFileSync(join(recipeFolders[name], "recipe.json"), "utf8")));

export const readLock = (name: RecipeName = "base"): PackageLock => parseLock(readFileSync(lockPath(name), "utf8"));
