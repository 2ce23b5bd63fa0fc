/**
 * The tour: a stack in a temporary folder does the main job on real input and shows each step with its time. It starts
 * on the distribution's kernel while ours is being built, and repeats the boot on ours. It leaves nothing behind.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { XMLParser } from "fast-xml-parser";
import { z } from "zod";
import { Exai } from "./exai.ts";
import { KernelBuild } from "./kernel-build.ts";
import { material } from "./material.ts";
import { Steps } from "./steps.ts";

const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopping.abort());

const steps = new Steps(Number(process.env["EXAI_QUICKSTART_STARTED_MS"] ?? Date.now()));
const folder = mkdtempSync(join(tmpdir(), "exai-tour-"));
chmodSync(folder, 0o711); // the stack's processes have users of their own
const exai = new Exai(join(folder, "home"), stopping.signal);
using kernel = new KernelBuild(stopping.signal);

const runReport = z.looseObject({
  kernel: z.string().optional(),
  timings: z.looseObject({ readyMs: z.number().optional(), totalMs: z.number() }),
});

try {
  await tour();
} catch (error) {
  process.exitCode = 1;
  console.error(`tour: ${error instanceof Error ? error.message : String(error)}`);
} finally {
  await exai.quietly(["down", "--purge"]);
  rmSync(folder, { recursive: true, force: true });
}
if (process.exitCode === undefined) next();

async function tour(): Promise<void> {
  steps.say("the tour: a stack of its own in a temporary folder");
  await steps.time("start the stack", () => exai.must(["up", "-d"]));

  const early = kernel.ready ? "base" : "base-stock";
  if (!kernel.ready) kernel.start((text) => steps.progress(text));
  await boot("first boot", early);
  await mainJob(early);
  if (early === "base") return;
  await steps.time("wait for our kernel", () => kernel.done);
  await boot("the same boot again", "base");
}

/** One command in a microVM of its own; the time names the kernel that it was measured on. */
async function boot(title: string, image: string): Promise<void> {
  const ran = await steps.time(`${title} (image ${image})`, () =>
    exai.must(["run", "--json", "--image", image, "--", "sh", "-c", "echo hello from $(uname -sr) as $(id -un)"]),
  );
  const lines = ran.trim().split("\n");
  const report = runReport.parse(JSON.parse(lines.at(-1) ?? ""));
  for (const line of lines.slice(0, -1)) steps.say(`    ${line}`);
  steps.say(
    `    ready after ${((report.timings.readyMs ?? 0) / 1000).toFixed(1)} s, all in ${(report.timings.totalMs / 1000).toFixed(1)} s, kernel ${report.kernel ?? "?"}`,
  );
}

/** A third-party package's own test suite, uploaded, run inside, its report brought back and counted. */
async function mainJob(image: string): Promise<void> {
  const job = material();
  const report = join(folder, "junit.xml");
  steps.say(`the main job: the tests of ${job.name}, in a microVM (kernel of ${image})`);
  await steps.time("upload, test, download, destroy", () =>
    exai.streamed([
      "run",
      "--image",
      image,
      "--memory",
      "768M",
      ...job.uploads,
      "--download",
      `${job.report}:${report}`,
      "--",
      ...job.command,
    ]),
  );
  const counted = countTests(readFileSync(report, "utf8"));
  if (counted.tests !== job.tests || counted.failed !== 0) {
    throw new Error(
      `the report says ${counted.tests} tests, ${counted.failed} failed; ${job.tests} and 0 are expected`,
    );
  }
  steps.say(`    the JUnit report says ${counted.tests} tests, 0 failed – as expected`);
}

function countTests(xml: string): { tests: number; failed: number } {
  const suite = z.looseObject({
    "@_tests": z.coerce.number(),
    "@_failures": z.coerce.number(),
    "@_errors": z.coerce.number(),
  });
  const parsed = z
    .looseObject({ testsuites: z.looseObject({ testsuite: z.union([suite, z.array(suite)]) }) })
    .parse(new XMLParser({ ignoreAttributes: false, processEntities: false }).parse(xml));
  const suites = [parsed.testsuites.testsuite].flat();
  const sum = (pick: (each: z.infer<typeof suite>) => number) => suites.reduce((total, each) => total + pick(each), 0);
  return { tests: sum((each) => each["@_tests"]), failed: sum((each) => each["@_failures"] + each["@_errors"]) };
}

function next(): void {
  steps.say("done; nothing is left behind. Next:");
  steps.say("    ./exai up -d                 start a stack that stays");
  steps.say("    ./exai run -- python3 -V     a microVM for one command");
  steps.say("    ./exai shell --help          a workspace that stays; docs/guide/cli.md has the rest");
}
