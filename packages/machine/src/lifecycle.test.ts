import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hasVmm, type MachineEvent, type MachineState, nextState } from "./lifecycle.ts";

const event: fc.Arbitrary<MachineEvent> = fc.oneof(
  fc.constantFrom<MachineEvent>(
    { kind: "launch" },
    { kind: "ready" },
    { kind: "stop" },
    { kind: "destroy" },
    { kind: "removed" },
  ),
  fc.record({ kind: fc.constant("exited" as const), exit: fc.record({ code: fc.integer({ min: 0, max: 255 }) }) }),
  fc.record({ kind: fc.constant("fail" as const), reason: fc.string() }),
);

/** Runs the events that are possible, and shows every step to `check`. */
function run(events: MachineEvent[], check: (from: MachineState, event: MachineEvent, to: MachineState) => void) {
  let state: MachineState = { phase: "created" };
  for (const each of events) {
    const next = nextState(state, each);
    if (next === undefined) continue;
    check(state, each, next);
    state = next;
  }
  return state;
}

describe("a machine's life", () => {
  it("runs only what was launched, and boots before it runs", () => {
    fc.assert(
      fc.property(fc.array(event), (events) => {
        run(events, (from, { kind }, to) => {
          if (!hasVmm(from) && hasVmm(to)) expect(kind).toBe("launch");
          if (to.phase === "running") expect(["booting", "running"]).toContain(from.phase);
        });
      }),
    );
  });

  it("can be destroyed from everywhere, and is never back", () => {
    fc.assert(
      fc.property(fc.array(event), fc.array(event), (before, after) => {
        const state = run(before, (from, _, to) => {
          if (from.phase === "destroying") expect(to.phase).toBe("destroyed");
          expect(from.phase).not.toBe("destroyed");
        });
        if (state.phase === "destroyed") return;
        const destroying = state.phase === "destroying" ? state : nextState(state, { kind: "destroy" });
        expect(destroying).toEqual({ phase: "destroying" });
        let last: MachineState = { phase: "destroying" };
        for (const each of after) last = nextState(last, each) ?? last;
        expect(["destroying", "destroyed"]).toContain(last.phase);
      }),
    );
  });

  it("has no VMM after its exit, and tells a boot that failed from a stop", () => {
    fc.assert(
      fc.property(fc.array(event), (events) => {
        run(events, (from, { kind }, to) => {
          if (kind !== "exited") return;
          expect(hasVmm(to)).toBe(false);
          expect(to.phase).toBe(from.phase === "booting" ? "failed" : "stopped");
        });
      }),
    );
  });
});
