import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AssemblyBudget, EnvelopeAssembler } from "./envelopes.ts";

const envelope = (message: Uint8Array): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
};

describe("EnvelopeAssembler", () => {
  it("gives back every byte, cut at message borders only, however the stream is cut", () => {
    const messages = fc.array(fc.uint8Array({ maxLength: 9000 }), { maxLength: 8 });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }), (all, cuts) => {
        const budget = new AssemblyBudget(1 << 20);
        const bytes = Buffer.concat(all.map(envelope));
        const borders = new Set([0]);
        let border = 0;
        for (const message of all) {
          border += message.length + 5;
          borders.add(border);
        }
        const out: Buffer[] = [];
        {
          using assembler = new EnvelopeAssembler(10_000, budget);
          for (let at = 0, turn = 0; at < bytes.length; turn++) {
            const size = cuts[turn % cuts.length] ?? 1;
            for (const piece of assembler.push(bytes.subarray(at, at + size))) {
              out.push(piece); // as a relay does: looked at only when all came
              expect(borders.has(out.reduce((sum, one) => sum + one.length, 0))).toBe(true);
            }
            at += size;
          }
          expect(assembler.empty).toBe(true);
        }
        expect(Buffer.concat(out).equals(bytes)).toBe(true);
        expect(budget.used).toBe(0);
      }),
    );
  });

  it("refuses a long prefix at once and a compressed message", () => {
    const assembler = new EnvelopeAssembler(100, new AssemblyBudget(1000));
    expect(() => [...assembler.push(Buffer.from([0, 0xff, 0xff, 0xff, 0xff]))]).toThrow("over the limit");
    const other = new EnvelopeAssembler(100, new AssemblyBudget(1000));
    expect(() => [...other.push(Buffer.from([1, 0, 0, 0, 1, 0]))]).toThrow("compressed");
  });

  it("holds memory for what came, not for what a prefix claims", () => {
    const budget = new AssemblyBudget(1 << 20);
    const assembler = new EnvelopeAssembler(1 << 20, budget);
    const start = envelope(new Uint8Array(1 << 19)).subarray(0, 50);
    expect([...assembler.push(start)]).toEqual([]);
    expect(budget.used).toBeLessThanOrEqual(4096);
  });
});
