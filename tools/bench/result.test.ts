import { expect, test } from "vitest";
import { median, percentile, ratioResult, result } from "./result.ts";

test("a median of an even number lies between the middle two, and needs values", () => {
  expect([median([3, 1, 2]), median([4, 1, 3, 2]), percentile([5, 1, 9], 99)]).toEqual([2, 2.5, 9]);
  expect(() => median([])).toThrow("no values");
});

test("a ratio is of each round with its own reference: a noisy minute that met both counts for neither", () => {
  expect(ratioResult("kvm-cold-ratio", [150, 1500, 160], [100, 1000, 100])).toMatchObject({
    value: 1.5,
    ratio: 1.5,
    reference: 100,
    spread: 0.1,
    ok: true,
  });
  expect(() => ratioResult("kvm-cold-ratio", [1, 2], [1])).toThrow("without its reference");
});

test("the target is on the side that its table says", () => {
  expect(result("kvm-per-vm-mib", [16]).ok).toBe(true);
  expect(result("kvm-per-vm-mib", [16.1]).ok).toBe(false);
  expect(result("vms-at-once", [40]).ok).toBe(true);
  expect(result("vms-at-once", [39]).ok).toBe(false);
});
