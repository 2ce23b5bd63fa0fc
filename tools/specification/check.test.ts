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
    const [, file, name] = /\| `([^`]+)` "([^"]*)" \|$/.exec(row) ?? [];
    if (file === undefined || name === undefined) throw new Error("a claim ends with `file` and the test's name");
    expect(readFileSync(join(root, file), "utf8")).toContain(name);
  });
});
