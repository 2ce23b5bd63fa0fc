/** What the production driver costs, in figures. docs/benchmarks.md says how each is taken. */
import { parseArgs } from "node:util";
import { describeError } from "@exai/base";
import type { Result } from "../bench/result.ts";
import { renderTable } from "../bench/table.ts";
import { kvmIds } from "../bench/targets.ts";
import { hostCpu } from "./host-cpu.ts";
import { onKvm } from "./on-kvm.ts";

const usage = `What Firecracker under exAI costs, against bare Firecracker, and what a workspace costs the host's processes.

  npm run bench:kvm                                  all figures, as a table
  npm run bench:kvm -- --json                        as JSON: [{id, unit, value, reference, ratio, target, ok, spread}]
  npm run bench:kvm -- --only host-cpu-ms-50         some, comma-separated
  npm run bench:kvm -- --rounds 9                    more rounds than 5

The kvm- figures are taken here where KVM works, else in a nested host that is started and ended for it; the host-cpu- ones
always here. There are: ${kvmIds.join(", ")}.
`;

const stopping = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stopping.abort());

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      only: { type: "string" },
      rounds: { type: "string", default: "5" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return void process.stdout.write(usage);
  const wanted = values.only?.split(",") ?? kvmIds;
  const unknown = wanted.find((id) => !(kvmIds as string[]).includes(id));
  if (unknown !== undefined) throw new RangeError(`there is no figure '${unknown}'; there are ${kvmIds.join(", ")}`);
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new RangeError(`--rounds must be a whole number above 0, not '${values.rounds}'`);
  const results = await measure(wanted, rounds);
  process.stdout.write(`${values.json ? JSON.stringify(results) : renderTable(results)}\n`);
}

async function measure(wanted: readonly string[], rounds: number): Promise<Result[]> {
  const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);
  const options = { rounds, signal: stopping.signal, say };
  const results: Result[] = [];
  const ofKvm = wanted.filter((id) => id.startsWith("kvm-"));
  if (ofKvm.length > 0) results.push(...(await onKvm({ ...options, ids: ofKvm })));
  if (ofKvm.length < wanted.length) results.push(...(await hostCpu(options)));
  return results.filter(({ id }) => wanted.includes(id));
}

try {
  await main();
} catch (error) {
  process.stderr.write(`bench: ${stopping.signal.aborted ? "interrupted" : describeError(error)}\n`);
  process.exitCode = stopping.signal.aborted ? 130 : 1;
}
