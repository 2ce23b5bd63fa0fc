import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LineFeeds } from "./line-feeds.ts";
import { DetachKeys } from "./terminal.ts";

const cut = (text: string, at: readonly number[]): Buffer[] => {
  const bytes = Buffer.from(text);
  const ends = [...at.map((each) => each % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return ends.map((end, n) => bytes.subarray(n === 0 ? 0 : ends[n - 1], end));
};

describe("line feeds in raw mode", () => {
  const translated = (chunks: readonly Buffer[]) => {
    const feeds = new LineFeeds();
    return Buffer.concat(chunks.map((chunk) => feeds.translate(chunk))).toString();
  };

  it("a bare one goes down in its column, one after a return stays", () => {
    expect(translated([Buffer.from("a\r\nb\nc\n\nd\r\n")])).toBe("a\r\nb\x1bDc\x1bD\x1bDd\r\n");
  });

  it("however the stream is cut", () => {
    const text = fc.array(fc.constantFrom("\r", "\n", "x", "ü")).map((all) => all.join(""));
    fc.assert(
      fc.property(text, fc.array(fc.nat(), { maxLength: 5 }), (all, at) => {
        expect(translated(cut(all, at))).toBe(all.replace(/(?<!\r)\n/g, "\x1bD"));
      }),
    );
  });
});

describe("the keys that leave a program", () => {
  const typed = (chunks: readonly Buffer[]) => {
    const keys = new DetachKeys();
    let out = "";
    for (const chunk of chunks) {
      const bytes = keys.filter(chunk);
      if (bytes === undefined) return { out, left: true };
      out += bytes.toString("latin1");
    }
    return { out, left: false };
  };

  it("are found however they are cut, and a lone one is handed on", () => {
    expect(typed([Buffer.from("ab\x10\x11")])).toEqual({ out: "", left: true });
    expect(typed([Buffer.from("ab\x10"), Buffer.from("\x11c")])).toEqual({ out: "ab", left: true });
    expect(typed([Buffer.from("a\x10"), Buffer.from("b\x11")])).toEqual({ out: "a\x10b\x11", left: false });
    expect(typed([Buffer.from("\x10\x10\x11")]).left).toBe(true);
  });
});
