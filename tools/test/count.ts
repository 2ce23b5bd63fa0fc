import { z } from "zod";

export interface Count {
  passed: number;
  failed: number;
}

export const sum = (counts: readonly Count[]): Count => ({
  passed: counts.reduce((total, each) => total + each.passed, 0),
  failed: counts.reduce((total, each) => total + each.failed, 0),
});

const vitestReport = z.object({
  numPassedTests: z.int(),
  numFailedTests: z.int(),
  numPendingTests: z.int(),
  numTodoTests: z.int(),
  testResults: z.array(z.object({ status: z.string(), assertionResults: z.array(z.object({ status: z.string() })) })),
});

/**
 * Of Vitest's JSON report. A file that could not even be loaded has no tests and is one failure; a skipped test is a
 * failure too, since nothing may be left out in silence.
 */
export function countVitest(report: unknown): Count {
  const parsed = vitestReport.parse(report);
  const brokenFiles = parsed.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
  );
  const leftOut = parsed.numPendingTests + parsed.numTodoTests;
  return { passed: parsed.numPassedTests, failed: parsed.numFailedTests + leftOut + brokenFiles.length };
}

/** Of the lines that `cargo test` ends each of its programs with. Ignored tests are failures, as above. */
export function countCargo(lines: readonly string[], exitCode: number): Count {
  const counts = lines.flatMap((line) => {
    const match = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/.exec(line);
    return match === null ? [] : [{ passed: Number(match[1]), failed: Number(match[2]) + Number(match[3]) }];
  });
  return atLeastOneFailure(sum(counts), exitCode);
}

/** A program that says that it failed is never counted as passed, whatever its report says. */
export const atLeastOneFailure = (count: Count, exitCode: number): Count =>
  exitCode === 0 || count.failed > 0 ? count : { ...count, failed: 1 };
