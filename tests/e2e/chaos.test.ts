import { expect, it } from "vitest";
import { Random } from "../../tools/chaos/random.ts";
import { Chaos } from "../../tools/chaos/run.ts";
import { leftovers, newLeftovers } from "../support/leftovers.ts";
import { TestStack } from "../support/stack.ts";

// A short run of `npm run chaos`, which does ten minutes and a hundred kills.
it("loses nothing and leaves nothing when its processes are killed", { timeout: 240_000 }, async () => {
  const before = leftovers();
  const said: string[] = [];
  {
    await using stack = await TestStack.start();
    const chaos = new Chaos(stack, new Random(7), (line) => said.push(line));
    await chaos.begin(2);
    while (chaos.kills < 10) await chaos.round();
    await chaos.finish();
  }
  expect(newLeftovers(before), said.join("\n")).toEqual([]);
});
