import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeEvent, encodeEvent, eventActions } from "./event.ts";
import { decodeRecord, encodeRecord, firstChain } from "./record.ts";

const records = fc.array(
  fc.record({
    kind: fc.constantFrom("event" as const, "gap" as const),
    ts: fc.nat(2 ** 40),
    payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  }),
  { minLength: 1, maxLength: 8 },
);

function encodeAll(all: { kind: "event" | "gap"; ts: number; payload: Buffer }[]): Buffer {
  let chain = firstChain;
  const parts = all.map((each, at) => {
    const encoded = encodeRecord({ ...each, sequence: at + 1 }, chain);
    chain = encoded.chain;
    return encoded.bytes;
  });
  return Buffer.concat(parts);
}

function decodeAll(bytes: Buffer): { count: number; end: "incomplete" | "broken" } {
  let at = { sequence: 1, chain: firstChain };
  for (let offset = 0, count = 0; ; count++) {
    const decoded = decodeRecord(bytes, offset, at);
    if (decoded.found !== "record") return { count, end: decoded.found };
    at = decoded.next;
    offset += decoded.bytes;
  }
}

test("what was encoded is decoded; cut anywhere, whole records remain", () => {
  fc.assert(
    fc.property(records, fc.double({ min: 0, max: 1, noNaN: true }), (all, where) => {
      const bytes = encodeAll(all);
      expect(decodeAll(bytes)).toEqual({ count: all.length, end: "incomplete" });
      const cut = decodeAll(bytes.subarray(0, Math.floor(bytes.length * where)));
      expect(cut.end).toBe("incomplete");
      expect(cut.count).toBeLessThanOrEqual(all.length);
    }),
  );
});

test("a changed byte ends the chain there", () => {
  fc.assert(
    fc.property(records, fc.nat(), fc.integer({ min: 1, max: 255 }), (all, position, flip) => {
      const bytes = encodeAll(all);
      const at = position % bytes.length;
      bytes[at] = (bytes[at] ?? 0) ^ flip;
      expect(decodeAll(bytes).count).toBeLessThan(all.length);
    }),
  );
});

test("a left-out or swapped record breaks the chain", () => {
  const payload = Buffer.from("x");
  const one = encodeRecord({ kind: "event", ts: 0, payload, sequence: 1 }, firstChain);
  const two = encodeRecord({ kind: "event", ts: 0, payload, sequence: 2 }, one.chain);
  const three = encodeRecord({ kind: "event", ts: 0, payload, sequence: 3 }, two.chain);
  expect(decodeAll(Buffer.concat([one.bytes, three.bytes]))).toEqual({ count: 1, end: "broken" });
  expect(decodeAll(Buffer.concat([two.bytes, one.bytes]))).toEqual({ count: 0, end: "broken" });
});

test("an event survives its encoding, and nothing but an event is one", () => {
  const event = fc.record({
    ts: fc.nat(),
    actor: fc.string({ minLength: 1, maxLength: 128 }),
    action: fc.constantFrom(...eventActions),
    target: fc.string({ maxLength: 200 }),
    outcome: fc.constantFrom("ok" as const, "refused" as const, "failed" as const),
    detail: fc.record({ argv: fc.array(fc.string()), bytes: fc.nat(), done: fc.boolean() }),
  });
  fc.assert(
    fc.property(event, (each) => {
      expect(decodeEvent(encodeEvent(each))).toEqual(each);
    }),
  );
  const good = { ts: 1, actor: "a", action: "file.read", target: "", outcome: "ok" };
  for (const bad of [
    { ...good, ts: -1 },
    { ...good, ts: 1.5 },
    { ...good, actor: "" },
    { ...good, actor: "\ud800" },
    { ...good, action: "file.steal" },
    { ...good, outcome: "" },
    { ...good, target: "x".repeat(5000) },
    { ...good, workspace: "../.." },
    { ...good, more: 1 },
    { ...good, detail: { "bad name": 1 } },
    { ...good, detail: { a: null } },
    { ...good, detail: { a: ["x".repeat(70_000)] } },
  ]) {
    expect(() => encodeEvent(bad as never), JSON.stringify(bad).slice(0, 60)).toThrow(/not valid/);
  }
});
