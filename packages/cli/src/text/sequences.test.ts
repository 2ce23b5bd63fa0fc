import fc from "fast-check";
import { expect, test } from "vitest";
import { Sequences } from "./sequences.ts";

const record = (sequence: number, more: object = {}) =>
  ({ kind: "event", host: "h", writer: "broker", sequence: BigInt(sequence), ...more }) as const;
const missing = (sequences: Sequences, ...all: ReturnType<typeof record>[]) =>
  all.map((each) => Number(sequences.missingBefore(each)));

test("whatever is left out of the middle or the beginning is counted", () => {
  const kept = fc.array(fc.boolean(), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(kept, (keeps) => {
      const given = keeps.flatMap((keep, at) => (keep ? [record(at + 1)] : []));
      const lastKept = keeps.lastIndexOf(true) + 1;
      const found = missing(new Sequences(true), ...given).reduce((sum, each) => sum + each, 0);
      expect(found).toBe(lastKept - given.length);
    }),
  );
});

test("writers and hosts are counted apart", () => {
  const all = [
    record(1),
    record(1, { writer: "channel" }),
    record(1, { host: "i" }),
    record(2),
    record(3, { host: "i" }),
  ];
  expect(missing(new Sequences(true), ...all)).toEqual([0, 0, 0, 0, 1]);
});

test("of the newest records the first may have any number", () => {
  expect(missing(new Sequences(false), record(70), record(71), record(74))).toEqual([0, 0, 2]);
});

test("a break is no second loss: its record goes on from there", () => {
  const all = [record(1), record(9, { kind: "broken" }), record(9), record(10)];
  expect(missing(new Sequences(true), ...all)).toEqual([0, 0, 0, 0]);
});

test("a writer that a host is silent about is named, unless only the newest were asked for", () => {
  const [all, newest] = [new Sequences(true), new Sequences(false)];
  for (const each of [all, newest]) missing(each, record(1));
  expect(all.silent(["h"])).toEqual([{ host: "h", writer: "channel" }]);
  expect(all.silent(["h", "i"])).toHaveLength(3);
  expect(newest.silent(["h"])).toEqual([]);
});
