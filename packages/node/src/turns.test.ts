import { setTimeout as sleep } from "node:timers/promises";
import type { WorkspaceId } from "@exai/base";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Turns } from "./turns.ts";

const names = ["a", "b", "c"] as WorkspaceId[];

test("steps of one workspace never overlap, whatever they take together, and all come to their end", async () => {
  const step = fc.record({ of: fc.uniqueArray(fc.nat(2), { minLength: 1 }), fails: fc.boolean(), longMs: fc.nat(2) });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const turns = new Turns();
      const inside = new Map<WorkspaceId, number>();
      const done = await Promise.allSettled(
        steps.map(({ of, fails, longMs }) => {
          const workspaces = of.map((at) => names[at] as WorkspaceId);
          return turns.takeAll(workspaces, async () => {
            for (const each of workspaces) {
              expect(inside.get(each) ?? 0).toBe(0);
              inside.set(each, 1);
            }
            await sleep(longMs);
            for (const each of workspaces) inside.set(each, 0);
            if (fails) throw new RangeError("it fails");
          });
        }),
      );
      expect(done.map((each) => each.status === "rejected" && each.reason instanceof RangeError)).toEqual(
        steps.map(({ fails }) => fails),
      );
      expect(names.some((each) => turns.isTaken(each))).toBe(false);
    }),
    { numRuns: 60 },
  );
});
