import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const rows = readFileSync(join(root, "SPECIFICATION.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("| ") && !line.startsWith("| claim"));

describe("SPECIFICATION.md", () => {
  it("has claims", () => expect(rows.length).toBeGreaterThan(20));

  it.each(rows)("names a test that exists: %s", (row) => {
    const [, file, name] = /\| `([^`]+)` "([^"]+)" \|$/.exec(row) ?? [];
    if (file === undefined || name === undefined) throw new Error("a claim ends with `file` and the test's name");
    // As the first argument of a call: a comment that says the same is no test.
    const source = readFileSync(join(root, file), "utf8").replaceAll(/\(\s+/g, "(");
    const calls = ['"', "'", "`"].map((quote) => `(${quote}${name}`);
    expect(calls.filter((call) => source.includes(call))).not.toEqual([]);
  });
});
