import { stripVTControlCharacters } from "node:util";
import { z } from "zod";

export interface Count {
  passed: number;
  failed: number;
  /** One line for each that failed: its name, and why as far as it is known. */
  failures: string[];
}

export const sum = (counts: readonly Count[]): Count => ({
  passed: counts.reduce((total, each) => total + each.passed, 0),
  failed: counts.reduce((total, each) => total + each.failed, 0),
  failures: counts.flatMap(({ failures }) => failures),
});

const vitestTest = z.object({
  status: z.string(),
  fullName: z.string(),
  failureMessages: z.array(z.string()).nullish(),
});

const vitestReport = z.object({
  numPassedTests: z.int(),
  numFailedTests: z.int(),
  numPendingTests: z.int(),
  numTodoTests: z.int(),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string().nullish(),
      assertionResults: z.array(vitestTest),
    }),
  ),
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
  const failures = parsed.testResults.flatMap((file) =>
    file.assertionResults
      .filter(({ status }) => status !== "passed")
      .map((test) => describeFailure(file.name, test.fullName, test.failureMessages?.[0] ?? test.status)),
  );
  failures.push(...brokenFiles.map((file) => describeFailure(file.name, "", file.message || "it could not be loaded")));
  return { passed: parsed.numPassedTests, failed: parsed.numFailedTests + leftOut + brokenFiles.length, failures };
}

const longestFailure = 300;

function describeFailure(file: string, name: string, why: string): string {
  const [first = ""] = stripVTControlCharacters(why).trim().split("\n");
  return `${file}${name === "" ? "" : ` > ${name}`}: ${first}`.slice(0, longestFailure);
}

/** Of the lines that `cargo test` ends each of its programs with. Ignored tests are failures, as above. */
export function countCargo(lines: readonly string[], exitCode: number): Count {
  const counts = lines.flatMap((line) => {
    const match = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/.exec(line);
    if (match === null) return [];
    return [{ passed: Number(match[1]), failed: Number(match[2]) + Number(match[3]), failures: [] }];
  });
  const failures = lines.filter((line) => /^test .* \.\.\. (FAILED|ignored)\b|^error(\[|:)/.test(line));
  return atLeastOneFailure({ ...sum(counts), failures }, exitCode);
}

/** A program that says that it failed is never counted as passed, whatever its report says. */
export const atLeastOneFailure = (count: Count, exitCode: number): Count =>
  exitCode === 0 || count.failed > 0
    ? count
    : { ...count, failed: 1, failures: [...count.failures, `its program ended with ${exitCode}`] };
