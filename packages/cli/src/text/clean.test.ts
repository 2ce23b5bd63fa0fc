import fc from "fast-check";
import { expect, test } from "vitest";
import { clean, cleanJson, cleanLines } from "./clean.ts";

// biome-ignore lint/suspicious/noControlCharactersInRegex: what must not come out
const moves = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const text = fc.string({
  unit: fc.oneof(fc.constantFrom("\u001b", "\u009b", "\u202e", "\n", "\r", "\t", "a"), fc.string()),
});

test("no text moves the cursor, and JSON stays the same JSON", () => {
  fc.assert(
    fc.property(text, (given) => {
      expect(clean(given)).not.toMatch(moves);
      expect(cleanLines(given)).not.toMatch(moves);
      expect(cleanJson({ given })).not.toMatch(moves);
      expect(JSON.parse(cleanJson({ given }))).toEqual({ given });
    }),
  );
});

test("a console keeps its lines and loses its sequences", () => {
  expect(cleanLines("a\r\n\tb\u001b]52;c;aGk=\u0007\rc\n")).toBe("a\r\n\tb\\x1b]52;c;aGk=\\x07\\x0dc\n");
});
