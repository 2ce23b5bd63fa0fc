import { isAbsolute, resolve } from "node:path";
import { usage } from "./errors.ts";

/** Options before the command's name. */
export interface Globals {
  readonly home?: string;
  readonly tenant?: string;
}

export const defaultHome = "/var/lib/exai";

/** The stack's folder: `--home`, `EXAI_HOME`, or the default. */
export function homeFolder(globals: Globals): string {
  const home = globals.home ?? (process.env["EXAI_HOME"] || defaultHome);
  if (home.includes("\0") || home.includes("\n")) throw usage("the home folder's name must not hold a newline");
  return isAbsolute(home) ? home : resolve(home);
}
