import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { importsOf, isTest, packageOf } from "../layers/check.ts";

const root = resolve(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const named = new Set([...read("docs/dependencies.md").matchAll(/`([^`\s]+)`/g)].map(([, name]) => name));

interface Manifest {
  readonly dependencies?: Record<string, string>;
  readonly devDependencies?: Record<string, string>;
}
const manifest = (path: string): Manifest => JSON.parse(read(path)) as Manifest;
const packages = readdirSync(join(root, "packages"));
const outside = (names: Record<string, string> = {}): string[] =>
  Object.keys(names).filter((name) => !name.startsWith("@exai/"));

/** Keys of every `[…dependencies]` table; our manifests write each dependency on a line of its own. */
function crates(path: string): string[] {
  let wanted = false;
  return read(path)
    .split("\n")
    .flatMap((line) => {
      if (line.startsWith("[")) wanted = /dependencies\]$/.test(line);
      const name = wanted ? /^([\w-]+) *=/.exec(line)?.[1] : undefined;
      return name === undefined ? [] : [name];
    });
}

describe("docs/dependencies.md", () => {
  const npm = ["package.json", ...packages.map((name) => `packages/${name}/package.json`)].flatMap((path) => {
    const { dependencies, devDependencies } = manifest(path);
    return [...outside(dependencies), ...outside(devDependencies)];
  });
  const rust = ["guest", "launcher"].flatMap((name) => crates(`native/${name}/Cargo.toml`));
  const debian = read("tools/setup/packages.txt")
    .split("\n")
    .flatMap((line) => /^([a-z][\w.+-]*) /.exec(line)?.[1] ?? []);

  it.each([
    ["npm", npm, 20],
    ["Rust", rust, 12],
    ["Debian", debian, 10],
  ] as const)("names every direct dependency from %s", (_where, names, least) => {
    expect(new Set(names).size).toBeGreaterThan(least);
    expect(names.filter((name) => !named.has(name))).toEqual([]);
  });
});

describe("a package's manifest", () => {
  const tools = new Set(outside(manifest("package.json").devDependencies));

  it.each(packages)("%s declares what its sources import", (name) => {
    const { dependencies = {}, devDependencies = {} } = manifest(`packages/${name}/package.json`);
    const missing = new Set<string>();
    for (const file of readdirSync(join(root, "packages", name, "src"), { recursive: true, encoding: "utf8" })) {
      if (!file.endsWith(".ts")) continue;
      for (const { specifier } of importsOf(read(`packages/${name}/src/${file}`))) {
        if (specifier.startsWith(".") || specifier.startsWith("node:")) continue;
        const wanted = packageOf(specifier);
        const declared = wanted in dependencies || wanted === `@exai/${name}`;
        const forTests = wanted in devDependencies || tools.has(wanted);
        if (!declared && !(isTest(`${name}/${file}`) && (forTests || wanted.startsWith("@exai/")))) missing.add(wanted);
      }
    }
    expect([...missing]).toEqual([]);
  });
});
