import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type Cached, cached } from "./cached.ts";
import { BuildError } from "./errors.ts";
import { missingOptions } from "./kconfig.ts";
import { parseTable, wrongRows } from "./kspp.ts";
import { cachePaths, root } from "./paths.ts";
import { run } from "./run.ts";

const fragment = join(root, "native/kernel/exai.config");
const readme = join(root, "native/kernel/README.md");
const source = "linux-source-6.1";
/** Lines that make prints for a whole build, for the percentage only. */
const expectedLines = 1490;

/** Who, where and when are compiled into a kernel; fixed, so that equal sources give equal bytes. */
const reproducible = {
  KBUILD_BUILD_TIMESTAMP: "@0",
  KBUILD_BUILD_USER: "exai",
  KBUILD_BUILD_HOST: "exai",
  KBUILD_BUILD_VERSION: "1",
};

/**
 * Our guest kernel from Debian's source package: `vmlinux`, stripped and not compressed, and its `config`.
 * @param onPercent called with 0 to 100 as the build goes on
 */
export async function buildKernel(onPercent: (percent: number) => void = () => undefined): Promise<Cached> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: a field of dpkg-query, not of ours
  const sourceVersion = await run(["dpkg-query", "-W", "-f", "${Version}", source]);
  const compiler = await run(["gcc", "--version"]);
  const inputs = [readFileSync(fragment), sourceVersion, compiler.split("\n")[0] ?? "", "v1"];
  const onWait = (pid: number) => void process.stderr.write(`kernel: process ${pid} builds it already; waiting\n`);
  return cached("kernel", inputs, (folder) => compile(folder, onPercent), { onWait });
}

async function compile(folder: string, onPercent: (percent: number) => void): Promise<void> {
  const work = join(folder, "work");
  mkdirSync(work);
  const progress = progressFile(onPercent);
  await run(["tar", "-xf", `/usr/src/${source}.tar.xz`, "-C", work, "--strip-components=1"]);
  const options = { cwd: work, env: reproducible };
  // Everything that the fragment does not name is off.
  await run(["make", `KCONFIG_ALLCONFIG=${fragment}`, "allnoconfig"], options);
  const config = readFileSync(join(work, ".config"), "utf8");
  const missing = missingOptions(readFileSync(fragment, "utf8"), config);
  if (missing.length > 0)
    throw new BuildError("input", `these kernel options did not take effect: ${missing.join(", ")}`);
  const wrong = wrongRows(parseTable(readFileSync(readme, "utf8")), config);
  if (wrong.length > 0) throw new BuildError("input", `native/kernel/README.md is not true: ${wrong.join("; ")}`);
  let lines = 0;
  const jobs = String(availableParallelism());
  await run(["nice", "-n", "5", "make", `-j${jobs}`, "vmlinux"], { ...options, onLine: () => progress(++lines) });
  await run(["strip", "--strip-all", "-o", join(folder, "vmlinux"), join(work, "vmlinux")]);
  writeFileSync(join(folder, "config"), config);
  rmSync(work, { recursive: true });
  progress(Number.POSITIVE_INFINITY);
}

/** The percentage goes to the caller and to a file, where whoever waits for a build in the background reads it. */
function progressFile(onPercent: (percent: number) => void): (lines: number) => void {
  const path = cachePaths().kernelProgress;
  const startedMs = Date.now();
  let last = -1;
  return (lines) => {
    const percent = lines === Number.POSITIVE_INFINITY ? 100 : Math.min(99, Math.floor((lines / expectedLines) * 100));
    if (percent === last) return;
    last = percent;
    writeFileSync(`${path}.new`, JSON.stringify({ pid: process.pid, percent, startedMs }));
    renameSync(`${path}.new`, path);
    onPercent(percent);
  };
}
