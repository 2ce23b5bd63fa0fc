import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cachePaths } from "../../tools/build/paths.ts";

const paths = cachePaths();

/** The store that `make build` fills, and the keys that its images are signed with. */
export const imageStore = paths.images;
export const releaseKeys = (): string[] =>
  readdirSync(paths.release)
    .filter((name) => name.endsWith(".pub"))
    .map((name) => readFileSync(join(paths.release, name), "utf8").trim());
