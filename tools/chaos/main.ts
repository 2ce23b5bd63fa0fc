/**
 * Kills processes of a stack at random moments and checks that nothing is lost and nothing is left.
 *   npm run chaos -- --seed 1 [--minutes 10] [--kills 100] [--workspaces 3]
 */
import { parseArgs } from "node:util";
import { leftovers, newLeftovers } from "../../tests/support/leftovers.ts";
import { TestStack } from "../../tests/support/stack.ts";
import { Random } from "./random.ts";
import { Chaos } from "./run.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    minutes: { type: "string", default: "10" },
    kills: { type: "string", default: "100" },
    workspaces: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
  },
});

const before = leftovers();
const chaos = new Chaos(await TestStack.start(), new Random(Number(values.seed)), (line) => console.error(line));
const untilMs = Date.now() + Number(values.minutes) * 60_000;
try {
  await chaos.begin(Number(values.workspaces));
  while (chaos.kills < Number(values.kills) || Date.now() < untilMs) await chaos.round();
  await chaos.finish();
} finally {
  await chaos.stack[Symbol.asyncDispose]();
}
const orphans = newLeftovers(before);
for (const each of orphans) console.error(`left over: ${each}`);
const result = { seed: Number(values.seed), ...chaos.counts, orphans: orphans.length };
console.log(values.json ? JSON.stringify(result) : `chaos: ${JSON.stringify(result)}`);
process.exitCode = orphans.length === 0 ? 0 : 1;
