import { describe, expect, it } from "vitest";
import { atLeastOneFailure, countCargo, countVitest } from "./count.ts";

const file = (status: string, ...tests: string[]) => ({
  name: "a.test.ts",
  status,
  message: "no such module",
  assertionResults: tests.map((each) => ({
    status: each,
    fullName: "adds",
    failureMessages: ["\x1b[31mnot 3\n  at x"],
  })),
});
const report = (numbers: number[], testResults: ReturnType<typeof file>[]) => {
  const [numPassedTests, numFailedTests, numPendingTests, numTodoTests] = numbers;
  return { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults };
};

describe("countVitest", () => {
  it("counts tests", () => {
    expect(countVitest(report([3, 0, 0, 0], [file("passed", "passed")]))).toMatchObject({ passed: 3, failed: 0 });
    expect(countVitest(report([3, 2, 0, 0], [file("failed", "failed")]))).toMatchObject({ passed: 3, failed: 2 });
  });

  it("says what failed, a line each", () => {
    const { failures } = countVitest(
      report([1, 1, 1, 0], [file("failed", "passed", "failed", "skipped"), file("failed")]),
    );
    expect(failures).toEqual(["a.test.ts > adds: not 3", "a.test.ts > adds: not 3", "a.test.ts: no such module"]);
  });

  it("counts what was left out and files that did not load as failed", () => {
    expect(countVitest(report([1, 0, 2, 1], [file("passed", "passed")]))).toMatchObject({ passed: 1, failed: 3 });
    expect(countVitest(report([1, 0, 0, 0], [file("passed", "passed"), file("failed")]))).toMatchObject({
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
      "test ring::tests::grows ... FAILED",
      line("FAILED. 1 passed; 2 failed; 1 ignored"),
    ];
    expect(countCargo(lines, 101)).toEqual({
      passed: 4,
      failed: 3,
      failures: ["test ring::tests::grows ... FAILED"],
    });
  });

  it("does not call a build that failed a success", () => {
    expect(countCargo(["error: could not compile"], 101)).toMatchObject({ passed: 0, failed: 1 });
    const count = atLeastOneFailure({ passed: 5, failed: 0, failures: [] }, 1);
    expect(count).toEqual({ passed: 5, failed: 1, failures: ["its program ended with 1"] });
  });
});
