/**
 * What one machine does, in figures, each against a reference of the same run.
 *   npm run bench:machine -- [--json] [--only ID,…] [--rounds N] [--max VMS]
 */
import { parseArgs } from "node:util";
import { leftoversOf, tracesOf } from "../../tests/support/leftovers.ts";
import { TestStack } from "../../tests/support/stack.ts";
import { chosen, type Group } from "./benches.ts";
import { type BenchContext, orInterrupted } from "./context.ts";
import type { Result } from "./result.ts";
import { renderTable } from "./table.ts";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    only: { type: "string" },
    rounds: { type: "string", default: "5" },
    max: { type: "string", default: "48" },
  },
});

const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    process.exitCode = 130;
    stopping.abort();
  });
}
const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);
const groups = chosen(values.only?.split(","));
const rounds = wholeNumber("rounds", values.rounds);
const maxVms = wholeNumber("max", values.max);
const results: Result[] = [];
for (const group of groups) results.push(...(await measure(group)));
if (!stopping.signal.aborted) process.stdout.write(`${values.json ? JSON.stringify(results) : renderTable(results)}\n`);

/** Each group has a stack of its own: what one leaves in memory must not count in another. */
async function measure(group: Group): Promise<Result[]> {
  if (stopping.signal.aborted) return [];
  say(`${group.ids.join(", ")} …`);
  const stack = await TestStack.start();
  const traces = tracesOf(stack.home);
  try {
    return await run(group, stack);
  } finally {
    await stack[Symbol.asyncDispose]();
    for (const each of leftoversOf(traces)) {
      process.exitCode = 1;
      say(`left over: ${each}`);
    }
  }
}

async function run(group: Group, stack: TestStack): Promise<Result[]> {
  const context: BenchContext = { stack, rounds, maxVms, signal: stopping.signal, say };
  try {
    return (await orInterrupted(group.run(context), stopping.signal)).filter(({ id }) => group.ids.includes(id));
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
    return [];
  }
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new RangeError(`--${name} must be a whole number above 0, not '${text}'`);
}
