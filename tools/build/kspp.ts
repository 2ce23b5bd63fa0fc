import { parseKconfig } from "./kconfig.ts";

/** A row of the table in native/kernel/README.md. */
export interface Recommendation {
  option: string;
  recommended: string;
  ours: string;
  why: string;
}

export function parseTable(markdown: string): Recommendation[] {
  return [...markdown.matchAll(/^\| ([A-Z][A-Z0-9_]+) \| (\S+) \| (\S+) \| (.*)\|$/gm)].map(
    ([, option = "", recommended = "", ours = "", why = ""]) => ({ option, recommended, ours, why: why.trim() }),
  );
}

/** The rows that the kernel's configuration proves wrong. */
export function wrongRows(table: readonly Recommendation[], config: string): string[] {
  const actual = parseKconfig(config);
  return table
    .filter(({ option, ours }) => (actual.get(option) ?? "n") !== ours)
    .map(({ option, ours }) => `${option} is ${actual.get(option) ?? "n"}, not ${ours}`);
}
