import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { missingOptions, parseKconfig } from "./kconfig.ts";
import { parseTable, wrongRows } from "./kspp.ts";
import { root } from "./paths.ts";

const table = parseTable(readFileSync(join(root, "native/kernel/README.md"), "utf8"));
const fragment = readFileSync(join(root, "native/kernel/exai.config"), "utf8");

describe("the table of kernel hardening", () => {
  it("has a row for each option, once, and a reason wherever we differ", () => {
    expect(table.length).toBeGreaterThan(120);
    expect(new Set(table.map(({ option }) => option)).size).toBe(table.length);
    expect(table.filter((row) => row.recommended !== row.ours && row.why === "")).toEqual([]);
  });

  it("does not contradict the configuration that is asked for", () => {
    const asked = parseKconfig(fragment);
    const contradicted = table.filter(({ option, ours }) => asked.has(option) && asked.get(option) !== ours);
    expect(contradicted).toEqual([]);
  });

  it("shows what a kernel's configuration proves wrong", () => {
    const rows = parseTable("| MODULES | n | n | |\n| BUG | y | y | |\n| PANIC_TIMEOUT | -1 | -1 | x |\n");
    expect(wrongRows(rows, "CONFIG_BUG=y\nCONFIG_PANIC_TIMEOUT=-1\n")).toEqual([]);
    expect(wrongRows(rows, "CONFIG_MODULES=y\n# CONFIG_BUG is not set\n")).toEqual([
      "MODULES is y, not n",
      "BUG is n, not y",
      "PANIC_TIMEOUT is n, not -1",
    ]);
  });
});

describe("missingOptions", () => {
  it("names what Kconfig dropped", () => {
    expect(missingOptions("CONFIG_A=y\nCONFIG_B=3\n# a comment\n", "CONFIG_A=y\nCONFIG_B=3\n")).toEqual([]);
    expect(missingOptions("CONFIG_A=y\nCONFIG_B=3\n", "# CONFIG_A is not set\nCONFIG_B=4\n")).toEqual([
      "CONFIG_A=y",
      "CONFIG_B=3",
    ]);
  });
});
