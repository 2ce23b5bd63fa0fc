import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { testOutput } from "../nested-host/test.ts";
import { atLeastOneFailure, type Count, countCargo, countVitest, sum } from "./count.ts";
import { run } from "./run.ts";

const usage = `Runs the tests, one suite after the other, and ends with "N passed, N failed".

  node tools/test/main.ts [--fast] [--only SUITE[,SUITE…]]

  --fast   without the end-to-end tests and those that need KVM
  --only   types, lint, layers, unit, cargo, vm, kvm
`;

const root = resolve(import.meta.dirname, "../..");
const bin = (name: string): string => join(root, "node_modules/.bin", name);
const vitest = join(root, "node_modules/vitest/vitest.mjs");

/** One program that passes or does not. */
async function check(argv: readonly [string, ...string[]]): Promise<Count> {
  const { exitCode } = await run(argv, root);
  return atLeastOneFailure({ passed: exitCode === 0 ? 1 : 0, failed: 0, failures: [] }, exitCode);
}

async function vitestProject(project: string, more: readonly string[] = []): Promise<Count> {
  const folder = mkdtempSync(join(tmpdir(), "exai-test-"));
  try {
    const report = join(folder, "report.json");
    const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
    const argv = [process.execPath, vitest, "run", "--project", project, ...reporters, ...more] as const;
    const { exitCode } = await run([...argv], root);
    return countReport(report, exitCode);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function countReport(path: string, exitCode: number): Count {
  const none = { passed: 0, failed: 0, failures: [] };
  const count = existsSync(path) ? countVitest(JSON.parse(readFileSync(path, "utf8"))) : none;
  return atLeastOneFailure(count, exitCode);
}

async function cargo(): Promise<Count> {
  const { exitCode, lines } = await run(["cargo", "test", "--locked", "--workspace"], join(root, "native"));
  return countCargo(lines, exitCode);
}

/** Where KVM works, or in hosts inside VMs; the program leaves its report whatever happens. */
async function kvm(): Promise<Count> {
  const report = join(testOutput, "report.json");
  rmSync(report, { force: true });
  const { exitCode } = await run([process.execPath, "tools/nested-host/main.ts", "test"], root);
  return countReport(report, exitCode);
}

const suites = (fast: boolean): Record<string, () => Promise<Count>> => ({
  types: () => check([bin("tsc"), "--noEmit", "-p", "tsconfig.json"]),
  lint: () => check([bin("biome"), "ci", "--error-on-warnings", "."]),
  layers: () => check([process.execPath, "tools/layers/main.ts"]),
  unit: () => vitestProject("unit"),
  cargo,
  vm: () => vitestProject("vm", fast ? ["tests/vm"] : []),
  ...(fast ? {} : { kvm }),
});

async function main(): Promise<void> {
  const options = {
    fast: { type: "boolean", default: false },
    only: { type: "string" },
    help: { type: "boolean", default: false },
  } as const;
  const { values } = parseArgs({ options });
  if (values.help) return void process.stdout.write(usage);
  const all = suites(values.fast);
  const counts: (Count & { name: string; seconds: number })[] = [];
  for (const name of values.only?.split(",") ?? Object.keys(all)) {
    const suite = all[name];
    if (suite === undefined) throw new RangeError(`there is no suite '${name}'; see --help`);
    process.stdout.write(`\n=== ${name}\n`);
    const startedMs = performance.now();
    counts.push({ name, ...(await suite()), seconds: (performance.now() - startedMs) / 1000 });
  }
  process.stdout.write("\n");
  for (const { name, passed, failed, seconds } of counts) {
    process.stdout.write(`  ${name.padEnd(8)} ${passed} passed, ${failed} failed  (${seconds.toFixed(1)} s)\n`);
  }
  const total = sum(counts);
  // Last, where who reads only the end of a long output finds them.
  for (const { name, failures } of counts) {
    for (const failure of failures) process.stdout.write(`  ${name}: ${failure.replaceAll(`${root}/`, "")}\n`);
  }
  process.stdout.write(`${total.passed} passed, ${total.failed} failed\n`);
  process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
}

await main();
