import { expect, test } from "vitest";
import { Trickle } from "./trickle.ts";

test("a burst, then one in a while, and the next one tells of those between", () => {
  const trickle = new Trickle({ burst: 3, everyMs: 1000 });
  const at = (...times: number[]) => times.map((ms) => trickle.take(ms));
  expect(at(0, 0, 0, 0, 999)).toEqual([0, 0, 0, undefined, undefined]);
  expect(at(1000, 1001, 2500)).toEqual([2, undefined, 1]);
});

test("a clock that is set back gives nothing away", () => {
  const trickle = new Trickle({ burst: 1, everyMs: 1000 });
  expect([10_000, 5000, 5001, 6100].map((ms) => trickle.take(ms))).toEqual([0, undefined, undefined, 2]);
});

test("a day of a flood is 1440 records and the burst", () => {
  const trickle = new Trickle({ burst: 30, everyMs: 60_000 });
  let taken = 0;
  for (let ms = 0; ms < 86_400_000; ms += 100) if (trickle.take(ms) !== undefined) taken++;
  expect(taken).toBeLessThanOrEqual(1470);
});
