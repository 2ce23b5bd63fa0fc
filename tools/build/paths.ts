import { homedir } from "node:os";
import { join, resolve } from "node:path";

export const root = resolve(import.meta.dirname, "../..");

/**
 * Where built things live. As root in /var/cache, since the processes of a stack have users of their own and could not
 * enter /root; EXAI_CACHE overrides.
 */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env, uid = process.getuid?.() ?? -1): string {
  if (env["EXAI_CACHE"]) return resolve(env["EXAI_CACHE"]);
  if (uid === 0) return "/var/cache/exai";
  return join(env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "exai");
}

export const cachePaths = (cache = cacheFolder()) => ({
  cache,
  build: join(cache, "build"),
  debs: join(cache, "debs"),
  npm: join(cache, "npm"),
  images: join(cache, "images"),
  release: join(cache, "release"),
  material: join(cache, "material"),
  kernelProgress: join(cache, "build", "kernel-progress.json"),
});
