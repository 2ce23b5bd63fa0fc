import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { type Layer, layers } from "./table.ts";

export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

interface Import {
  readonly specifier: string;
  readonly dynamic: boolean;
  readonly line: number;
}

// Static and re-exporting statements, side-effect imports, `import()` and `require`/`import.meta.resolve`.
const staticImport = /^\s*(?:import|export)\b[^"'`;]*?\bfrom\s*["']([^"']+)["']|^\s*import\s*["']([^"']+)["']/gm;
const dynamicImport = /\b(?:import|require|import\.meta\.resolve)\s*\(\s*["'`]([^"'`]+)["'`]/g;

export function importsOf(source: string): Import[] {
  const lineOf = (index: number) => source.slice(0, index).split("\n").length;
  const found: Import[] = [];
  for (const match of source.matchAll(staticImport)) {
    found.push({ specifier: match[1] ?? match[2] ?? "", dynamic: false, line: lineOf(match.index) });
  }
  for (const match of source.matchAll(dynamicImport)) {
    found.push({ specifier: match[1] ?? "", dynamic: true, line: lineOf(match.index) });
  }
  return found;
}

export const isTest = (file: string): boolean => /\.(test|fixture|double)\.ts$|\/(testing|contract)\//.test(file);
export const packageOf = (specifier: string): string =>
  specifier.startsWith("@") ? specifier.split("/").slice(0, 2).join("/") : (specifier.split("/")[0] ?? specifier);

/** What tests may use besides: runners, makers of certificates for doubles, another reader of what we sign. */
const forTests = ["vitest", "fast-check", "@peculiar/x509", "reflect-metadata", "jose"];

function judge(name: string, layer: Layer, found: Import, test: boolean): string | undefined {
  const { specifier } = found;
  if (specifier.startsWith(".")) return undefined; // escapes are judged by path
  if (specifier.startsWith("node:")) {
    return !test && layer.forbidden?.includes(specifier) ? `${name} must not use ${specifier}` : undefined;
  }
  const wanted = packageOf(specifier);
  if (wanted.startsWith("@exai/")) {
    const other = wanted.slice("@exai/".length);
    if (other === name || layer.imports.includes(other)) return undefined;
    if (found.dynamic && layer.dynamic?.includes(other)) return undefined;
    return `${name} must not import ${other}`;
  }
  if (layer.external.includes(wanted)) return undefined;
  if (test && forTests.includes(wanted)) return undefined;
  return `${name} must not depend on ${wanted}`;
}

/** Judges one file of a package. `path` is relative to the packages folder. */
export function checkSource(path: string, source: string): Violation[] {
  const [name = ""] = path.split("/");
  const layer = layers[name];
  if (layer === undefined) return [{ file: path, line: 1, message: `${name} has no row in the table of layers` }];
  const violations: Violation[] = [];
  for (const found of importsOf(source)) {
    const message = leavesPackage(path, found.specifier)
      ? `${name} reaches into another package by path: import it by name`
      : judge(name, layer, found, isTest(path));
    if (message !== undefined) violations.push({ file: path, line: found.line, message });
  }
  return violations;
}

function leavesPackage(path: string, specifier: string): boolean {
  if (!specifier.startsWith("..")) return false;
  const depth = path.split("/").length - 2; // folders below packages/<name>
  const ups = specifier.split("/").filter((part) => part === "..").length;
  return ups > depth;
}

export function checkPackages(packages: string): Violation[] {
  const violations: Violation[] = [];
  for (const entry of readdirSync(packages, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (!entry.isFile() || !entry.name.endsWith(".ts") || file.includes("node_modules") || file.includes("/gen/"))
      continue;
    violations.push(...checkSource(relative(packages, file), readFileSync(file, "utf8")));
  }
  return violations;
}
