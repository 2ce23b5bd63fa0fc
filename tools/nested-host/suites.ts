import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeError } from "@exai/base";
import { cachePaths } from "../build/paths.ts";
import { HostError } from "./errors.ts";
import type { Place } from "./place.ts";
import { brokenReport, mergeJunit, mergeReports, parseReport, type VitestReport } from "./report.ts";
import type { SuiteFile } from "./suite-files.ts";

export interface SuitesOptions {
  place: Place;
  suites: readonly SuiteFile[];
  /** Emptied and filled: `report.json`, `junit.xml`, and a folder for each suite. */
  out: string;
  parallel: number;
  say: (text: string) => void;
  signal: AbortSignal;
}

const reports = { json: "report.json", junit: "junit.xml" } as const;

/** Runs every suite, whatever becomes of the others. @returns Vitest's report over all of them */
export async function runSuites(options: SuitesOptions): Promise<VitestReport> {
  const { suites, out, signal } = options;
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const results = new Map<SuiteFile, VitestReport>();
  const { alone = [], beside: waiting = [] } = Object.groupBy(suites, (suite) => (suite.alone ? "alone" : "beside"));
  // The longest first: what is left at the end is short.
  waiting.sort((a, b) => b.minutes - a.minutes);
  const worker = async (): Promise<void> => {
    for (let suite = waiting.shift(); suite !== undefined; suite = waiting.shift()) {
      signal.throwIfAborted();
      results.set(suite, await runSuite(suite, options));
    }
  };
  await Promise.all(Array.from({ length: options.parallel }, worker));
  for (const suite of alone) {
    signal.throwIfAborted();
    results.set(suite, await runSuite(suite, options));
  }
  const merged = mergeReports(suites.flatMap((suite) => results.get(suite) ?? []));
  writeFileSync(join(out, reports.json), JSON.stringify(merged));
  const documents = suites.map(({ name }) => join(out, name, reports.junit)).filter(existsSync);
  writeFileSync(join(out, reports.junit), mergeJunit(documents.map((path) => readFileSync(path, "utf8"))));
  return merged;
}

async function runSuite(suite: SuiteFile, options: SuitesOptions): Promise<VitestReport> {
  const { out, say } = options;
  const folder = join(out, suite.name);
  const startedMs = performance.now();
  say(`${suite.name}: starts`);
  let { said, why, stalled } = await attempt(suite, folder, options);
  if (stalled) {
    const kept = `${folder}-stalled`;
    renameSync(folder, kept);
    say(`${suite.name}: its nested host has stopped (${why}); begun again in a new one, once; logs are in ${kept}`);
    if (said !== "") say(said.trim());
    ({ said, why } = await attempt(suite, folder, options));
  }
  const report = readReport(suite, join(folder, reports.json), why);
  // One piece: suites that run at the same time do not mix.
  say(`${suite.name}: ${((performance.now() - startedMs) / 1000).toFixed(1)} s\n${said.trim()}`);
  if (!report.success)
    say(`${suite.name}: failed; logs are in ${folder}${existsSync(join(folder, reports.json)) ? "" : ` (${why})`}`);
  return report;
}

interface Attempt {
  said: string;
  /** Why there is no report, if there is none. */
  why: string;
  /** Lost by the emulator's fault, whatever the suite does: docs/internals/nested-host.md. */
  stalled: boolean;
}

async function attempt(suite: SuiteFile, folder: string, { place, signal }: SuitesOptions): Promise<Attempt> {
  mkdirSync(folder);
  const output: Uint8Array[] = [];
  let why: string;
  let stalled = false;
  try {
    const code = await place.run(suite, {
      argv: (inside) => vitestArguments(suite.path, inside),
      // The cache is seen at the path that it has here.
      env: (inside) => ({ EXAI_KVM_OUT: inside, EXAI_CACHE: cachePaths().cache, NO_COLOR: "1", ...seed() }),
      out: folder,
      onOutput: (data) => void output.push(data),
      onConsole: (text) => writeFileSync(join(folder, "console.log"), text),
      timeoutMs: suite.minutes * 60_000,
      signal,
    });
    why = `it ended with ${code} and wrote no report`;
  } catch (error) {
    why = describeError(error);
    stalled = error instanceof HostError && error.code === "stalled";
  }
  const said = Buffer.concat(output);
  writeFileSync(join(folder, "output.log"), said);
  return { said: said.toString("utf8"), why, stalled };
}

/** Of a run by chance that is to be repeated. */
function seed(): Record<string, string> {
  const given = process.env["EXAI_SEED"];
  return given === undefined ? {} : { EXAI_SEED: given };
}

function readReport(suite: SuiteFile, path: string, why: string): VitestReport {
  try {
    return parseReport(readFileSync(path, "utf8"));
  } catch {
    return brokenReport(suite.path, why);
  }
}

/** @param folder where the reports go, as the suite sees it */
const vitestArguments = (path: string, folder: string): readonly [string, ...string[]] => [
  "node",
  "node_modules/vitest/vitest.mjs",
  "run",
  ...["--root", ".", "--config", "tests/kvm/vitest.config.ts", "--configLoader", "native"],
  ...["--reporter=default", "--reporter=json", `--outputFile.json=${join(folder, reports.json)}`],
  ...["--reporter=junit", `--outputFile.junit=${join(folder, reports.junit)}`],
  path,
];
