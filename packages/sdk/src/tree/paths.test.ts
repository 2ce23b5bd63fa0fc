import { posix } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { linkEscapes, splitPath } from "./paths.ts";

const bytes = (text: string) => Buffer.from(text, "latin1");

describe("paths of a tree", () => {
  it("takes plain relative names, also odd ones", () => {
    const odd = "a/new\nline/ü/ /\u00ff/...";
    expect(splitPath(bytes(odd)).map((part) => part.toString("latin1"))).toEqual(odd.split("/"));
    expect(splitPath(bytes(""))).toEqual([]);
  });

  it.each(["/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b", "a".repeat(256), "a/".repeat(300)])(
    "refuses %j",
    (path) => {
      expect(() => splitPath(bytes(path))).toThrow();
    },
  );

  it("what it takes stays below the root, whatever it is", () => {
    const part = fc.oneof(fc.constantFrom("", ".", "..", "a", "..."), fc.string());
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        const path = parts.join("/");
        let taken: Buffer[];
        try {
          taken = splitPath(Buffer.from(path));
        } catch {
          return;
        }
        expect(posix.resolve("/root/tree", path).startsWith("/root/tree")).toBe(true);
        expect(taken.every((each) => each.length > 0 && !each.includes(0x2f))).toBe(true);
      }),
    );
  });
});

describe("links of a tree", () => {
  it("may point to brothers, children and parents inside", () => {
    for (const [target, depth] of [
      ["b", 0],
      ["../b", 1],
      ["../../c/d", 2],
      ["./a/b", 0],
    ] as const) {
      expect(linkEscapes(bytes(target), depth)).toBe(false);
    }
  });

  it("may not lead out, nor hide a step up behind another link", () => {
    for (const [target, depth] of [
      ["/etc", 5],
      ["..", 0],
      ["../..", 1],
      ["a/../..", 3],
      ["", 0],
      ["a\0", 0],
    ] as const) {
      expect(linkEscapes(bytes(target), depth)).toBe(true);
    }
  });

  it("what it allows resolves inside", () => {
    const part = fc.constantFrom("..", ".", "", "a", "b");
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 8 }), fc.nat(4), (parts, depth) => {
        const target = parts.join("/");
        if (linkEscapes(bytes(target), depth)) return;
        const folder = `/r${"/d".repeat(depth)}`;
        expect(`${posix.resolve(folder, target)}/`.startsWith("/r/")).toBe(true);
      }),
    );
  });
});
