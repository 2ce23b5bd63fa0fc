import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { BuildError } from "./errors.ts";

/** A kernel module's name: files use `-` and `_` as they like, names have `_` only. */
const nameOf = (file: string): string => basename(file).replace(/\.ko$/, "").replaceAll("-", "_");

/** The `depends=` entry of a module's .modinfo section: names, separated by commas. */
export function moduleDepends(module: Buffer): string[] {
  const at = module.indexOf("\0depends=");
  if (at < 0) return [];
  const start = at + "\0depends=".length;
  const text = module.toString("latin1", start, module.indexOf(0, start));
  return text === "" ? [] : text.split(",").map(nameOf);
}

/**
 * The wanted modules with all that they depend on, each after its dependencies: the order to load them in.
 * @param folder `lib/modules/<version>`
 * @param wanted module names; one that is not there is taken to be built in, if `builtin` lists it
 * @throws BuildError `missing`
 */
export function orderModules(folder: string, wanted: readonly string[]): { name: string; content: Buffer }[] {
  const files = new Map<string, string>();
  for (const entry of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (entry.endsWith(".ko")) files.set(nameOf(entry), join(folder, entry));
  }
  const builtin = new Set(readFileSync(join(folder, "modules.builtin"), "utf8").split("\n").map(nameOf));
  const ordered = new Map<string, Buffer>();
  const visit = (name: string): void => {
    if (ordered.has(name) || (builtin.has(name) && !files.has(name))) return;
    const file = files.get(name);
    if (file === undefined) throw new BuildError("missing", `the stock kernel has no module '${name}'`);
    const content = readFileSync(file);
    for (const dependency of moduleDepends(content)) visit(dependency);
    ordered.set(name, content);
  };
  for (const name of wanted) visit(nameOf(name));
  return [...ordered].map(([name, content]) => ({ name, content }));
}
