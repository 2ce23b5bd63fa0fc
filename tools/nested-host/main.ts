import { parseArgs } from "node:util";
import { describeError } from "@exai/base";
import { NestedHost } from "./host.ts";

const usage = `Runs a command in a host inside a VM, which has KVM.

  node tools/nested-host/main.ts [--fresh] [--cpus N] [--memory MIB] -- CMD…

  --fresh   boot it, instead of going on from its saved state
`;

const options = {
  fresh: { type: "boolean", default: false },
  cpus: { type: "string", default: "1" },
  memory: { type: "string", default: "4096" },
  help: { type: "boolean", default: false },
} as const;

async function main(signal: AbortSignal): Promise<void> {
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [program, ...args] = positionals;
  if (values.help || program === undefined) return void process.stdout.write(usage);
  const shape = { cpus: Number(values.cpus), memoryMib: Number(values.memory) };
  await using host = await NestedHost.start({ shape, fresh: values.fresh, signal });
  const { code } = await host.run([program, ...args], {
    cwd: process.cwd(),
    signal,
    ...(process.stdin.isTTY ? {} : { stdin: process.stdin }),
    onStdout: (data) => void process.stdout.write(data),
    onStderr: (data) => void process.stderr.write(data),
  });
  process.exitCode = code;
}

const interrupted = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupted.abort());
try {
  await main(interrupted.signal);
} catch (error) {
  process.stderr.write(`nested-host: ${describeError(error)}\n`);
  process.exitCode = interrupted.signal.aborted ? 130 : 125;
}
