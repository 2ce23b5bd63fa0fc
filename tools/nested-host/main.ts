import { parseArgs } from "node:util";
import { describeError } from "@exai/base";
import { NestedHost } from "./host.ts";
import { testKvm } from "./test.ts";

const usage = `A host inside a VM, which has KVM where this machine's can't run a guest.

  node tools/nested-host/main.ts run [--fresh] [--cpus N] [--memory MIB] -- CMD…
  node tools/nested-host/main.ts test [--full] [--parallel N] [SUITE…]

  run     starts one, runs the command in it as root, in this folder, and ends it; the exit code is the command's
  test    runs the suites of tests/kvm where KVM works, here or in nested hosts; results are in build/test-kvm

  --fresh     boot it, instead of going on from its saved state
  --full      also the suites of tests/kvm/full
`;

const options = {
  fresh: { type: "boolean", default: false },
  cpus: { type: "string", default: "1" },
  memory: { type: "string", default: "4096" },
  full: { type: "boolean", default: false },
  parallel: { type: "string" },
  help: { type: "boolean", default: false },
} as const;

type Values = ReturnType<typeof parse>["values"];
const parse = () => parseArgs({ options, allowPositionals: true });

/** @returns the exit code */
async function main(signal: AbortSignal): Promise<number> {
  const { values, positionals } = parse();
  const [verb, ...rest] = positionals;
  if (verb === "run" && rest.length > 0 && !values.help) return runOne(values, rest, signal);
  if (verb === "test" && !values.help) {
    const say = (text: string) => void process.stdout.write(`${text}\n`);
    const parallel = values.parallel === undefined ? {} : { parallel: Number(values.parallel) };
    return (await testKvm({ full: values.full, names: rest, ...parallel, say, signal })) ? 0 : 1;
  }
  process.stdout.write(usage);
  return values.help ? 0 : 125;
}

async function runOne(values: Values, [program = "", ...args]: string[], signal: AbortSignal): Promise<number> {
  const shape = { cpus: Number(values.cpus), memoryMib: Number(values.memory) };
  await using host = await NestedHost.start({ shape, fresh: values.fresh, signal });
  const { code } = await host.run([program, ...args], {
    cwd: process.cwd(),
    signal,
    ...(process.stdin.isTTY ? {} : { stdin: process.stdin }),
    onStdout: (data) => void process.stdout.write(data),
    onStderr: (data) => void process.stderr.write(data),
  });
  return code;
}

const interrupted = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupted.abort());
try {
  process.exitCode = await main(interrupted.signal);
} catch (error) {
  process.stderr.write(`nested-host: ${describeError(error)}\n`);
  process.exitCode = interrupted.signal.aborted ? 130 : 125;
}
