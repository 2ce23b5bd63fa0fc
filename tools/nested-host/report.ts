import { z } from "zod";

/** What is used of Vitest's JSON report; the rest is carried along. */
const vitestReport = z.looseObject({
  numPassedTests: z.int(),
  numFailedTests: z.int(),
  numPendingTests: z.int(),
  numTodoTests: z.int(),
  success: z.boolean(),
  testResults: z.array(z.looseObject({ name: z.string(), status: z.string() })),
});
export type VitestReport = z.infer<typeof vitestReport>;

export const parseReport = (text: string): VitestReport => vitestReport.parse(JSON.parse(text));

/** A file that gave no report: one that could not be loaded looks the same, and is counted as a failure. */
export const brokenReport = (path: string, why: string): VitestReport => ({
  numPassedTests: 0,
  numFailedTests: 0,
  numPendingTests: 0,
  numTodoTests: 0,
  success: false,
  testResults: [{ name: path, status: "failed", message: why, assertionResults: [] }],
});

/** As if one run had run them all. */
export function mergeReports(reports: readonly VitestReport[]): VitestReport {
  const sum = (of: (report: VitestReport) => number): number => reports.reduce((total, each) => total + of(each), 0);
  return {
    numPassedTests: sum((report) => report.numPassedTests),
    numFailedTests: sum((report) => report.numFailedTests),
    numPendingTests: sum((report) => report.numPendingTests),
    numTodoTests: sum((report) => report.numTodoTests),
    success: reports.every(({ success }) => success),
    testResults: reports.flatMap(({ testResults }) => testResults),
  };
}

/** Joins the suites of several JUnit documents. Vitest writes each `testsuite` whole and never one in another. */
export function mergeJunit(documents: readonly string[]): string {
  const suites = documents.flatMap((text) => text.match(/<testsuite [\s\S]*?<\/testsuite>/g) ?? []);
  return `<?xml version="1.0" encoding="UTF-8" ?>\n<testsuites name="kvm">\n    ${suites.join("\n    ")}\n</testsuites>\n`;
}
