import { describe, expect, it } from "vitest";
import { atLeastOneFailure, countCargo, countVitest } from "./count.ts";

const file = (status: string, ...tests: string[]) => ({
  status,
  assertionResults: tests.map((each) => ({ status: each })),
});
const report = (numbers: number[], testResults: ReturnType<typeof file>[]) => {
  const [numPassedTests, numFailedTests, numPendingTests, numTodoTests] = numbers;
  return { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults };
};

describe("countVitest", () => {
  it("counts tests", () => {
    expect(countVitest(report([3, 0, 0, 0], [file("passed", "passed")]))).toEqual({ passed: 3, failed: 0 });
    expect(countVitest(report([3, 2, 0, 0], [file("failed", "failed")]))).toEqual({ passed: 3, failed: 2 });
  });

  it("counts what was left out and files that did not load as failed", () => {
    expect(countVitest(report([1, 0, 2, 1], [file("passed", "passed")]))).toEqual({ passed: 1, failed: 3 });
    expect(countVitest(report([1, 0, 0, 0], [file("passed", "passed"), file("failed")]))).toEqual({
      passed: 1,
      failed: 1,
    });
  });
});

describe("countCargo", () => {
  const line = (text: string) => `test result: ${text}; 0 measured; 0 filtered out; finished in 0.00s`;
  it("adds up the programs", () => {
    const lines = [
      "running 3 tests",
      line("ok. 3 passed; 0 failed; 0 ignored"),
      line("FAILED. 1 passed; 2 failed; 1 ignored"),
    ];
    expect(countCargo(lines, 101)).toEqual({ passed: 4, failed: 3 });
  });

  it("does not call a build that failed a success", () => {
    expect(countCargo(["error: could not compile"], 101)).toEqual({ passed: 0, failed: 1 });
    expect(atLeastOneFailure({ passed: 5, failed: 0 }, 1)).toEqual({ passed: 5, failed: 1 });
  });
});
