import { parseArgs } from "node:util";
import { describeError } from "@exai/base";
import { BuildError } from "./errors.ts";
import { runGraph, type StepResult } from "./graph.ts";
import { isRecipeName, recipeFolders } from "./recipe.ts";
import { refresh } from "./refresh.ts";
import { stopAll } from "./run.ts";
import { buildSteps } from "./steps.ts";

const usage = `Builds what a stack boots, into the cache.

  node tools/build/main.ts [--only NAME[,NAME…]] [--tests] [--progress] [--json] [--strict]
  node tools/build/main.ts refresh [base|nested-host]

  --only      steps: rootfs, guest, launcher, stock-kernel, kernel, image-stock, image, …
  --tests     also what only tests boot: the host in a VM
  --progress  also says how far the kernel is, in percent
  --json      one line of JSON at the end: [{name, hit, seconds, note}]
  --strict    fails when Debian has replaced a package that the lock names
  refresh     resolves the packages of an image anew and writes its packages.lock
`;

const options = {
  only: { type: "string" },
  tests: { type: "boolean", default: false },
  progress: { type: "boolean", default: false },
  json: { type: "boolean", default: false },
  strict: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const;

async function main(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true });
  if (values.help) return void process.stdout.write(usage);
  const say = (text: string) => void process.stderr.write(`${text}\n`);
  if (positionals[0] === "refresh" && positionals.length <= 2) return say(await refreshImage(positionals[1] ?? "base"));
  if (positionals.length > 0) throw new BuildError("input", `'${positionals[0]}' is not known; see --help`);
  const steps = buildSteps({
    strict: values.strict,
    onNote: (text) => say(`note: ${text}`),
    onKernelPercent: (percent) => {
      if (values.progress) say(`kernel ${percent} %`);
    },
  });
  const wanted = steps.filter((step) => values.tests || step.testsOnly !== true);
  const targets = values.only?.split(",") ?? wanted.map((step) => step.name);
  const results = await runGraph(steps, targets, { parallel: 2, onDone: (result) => say(line(result)) });
  if (values.json) process.stdout.write(`${JSON.stringify(results)}\n`);
}

async function refreshImage(name: string): Promise<string> {
  if (isRecipeName(name)) return refresh(name, Date.now());
  throw new BuildError("input", `there is no image '${name}'; there are: ${Object.keys(recipeFolders).join(", ")}`);
}

function line({ name, hit, seconds, note }: StepResult): string {
  const time = hit ? "cached" : `${seconds.toFixed(1)} s`;
  return `  ${name.padEnd(16)} ${time.padStart(8)}${note === undefined ? "" : `  ${note.slice(0, 16)}`}`;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stopAll);
try {
  await main(process.argv.slice(2));
} catch (error) {
  // What a program said keeps its lines.
  const text = error instanceof BuildError && error.code === "run" ? error.message : describeError(error);
  process.stderr.write(`build: ${text}\n`);
  process.exitCode = 1;
}
