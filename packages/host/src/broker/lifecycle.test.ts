import { newLifetimeId } from "@exai/base";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Boot,
  created,
  foundAgain,
  type Lifecycle,
  type LifecycleEvent,
  lifecycle,
  transition,
} from "./lifecycle.ts";

const serial = fc.nat({ max: 100 });
const message = fc.string({ maxLength: 20 });
const timings = fc.constant({ bootMs: 1 });
const event: fc.Arbitrary<LifecycleEvent> = fc.oneof(
  fc.record({ type: fc.constantFrom("boot", "stop", "destroy"), serial }),
  fc.record({ type: fc.constantFrom("wait", "die"), message }),
  fc.record({ type: fc.constantFrom("fail", "stopped"), serial, message }),
  fc.record({ type: fc.constant("ready"), serial, kernel: fc.constant("6.1"), timings }),
  fc.record({
    type: fc.constant("launched"),
    boot: fc.constant({ lifetime: newLifetimeId(), notEnforced: ["x"] } as Boot),
  }),
  fc.record({ type: fc.constant("destroyed"), destroyMs: fc.nat() }),
);

/** What is impossible changes nothing. */
function after(state: Lifecycle, events: LifecycleEvent[]): Lifecycle[] {
  const states = [state];
  for (const each of events) {
    try {
      states.push(transition(states.at(-1) ?? state, each));
    } catch (error) {
      expect(error).toMatchObject({ code: "journal" });
    }
  }
  return states;
}

describe("the lifecycle of a workspace", () => {
  it("never leads out of its schema, nor back from destruction", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 30 }), (events) => {
        const states = after(created, events);
        for (const state of states) expect(lifecycle.parse(state)).toEqual(state);
        const phases = states.map(({ phase }) => phase);
        const from = phases.indexOf("destroying");
        if (from >= 0) expect(phases.slice(from).filter((each) => !/^destroy/.test(each))).toEqual([]);
        const end = phases.indexOf("destroyed");
        if (end >= 0) expect(end).toBe(phases.length - 1);
      }),
    );
  });

  it("is found again, without a write, in a first boot and after a launch, and in nothing else", () => {
    const lifetime = newLifetimeId();
    const written = (events: LifecycleEvent[]): string[] => {
      const states = after(created, events);
      return states.slice(1).flatMap((state, at) => (foundAgain(states[at] ?? created, state) ? [] : [state.phase]));
    };
    const begun: LifecycleEvent[] = [
      { type: "boot", serial: 1 },
      { type: "launched", boot: { lifetime, notEnforced: [] } },
      { type: "ready", serial: 1, kernel: "6.1", timings: {} },
    ];
    expect(written(begun)).toEqual(["running"]);
    // That it ran before must be known: it is not given up when its boot can't be witnessed.
    expect(written([...begun, { type: "die", message: "x" }])).toEqual(["running", "booting"]);
    expect(written([...begun, { type: "boot", serial: 2 }])).toEqual(["running", "booting"]);
    expect(written([...begun, { type: "stopped", serial: 2 }, { type: "boot", serial: 3 }])).toEqual([
      "running",
      "stopped",
      "booting",
    ]);
    expect(
      written([
        { type: "boot", serial: 1 },
        { type: "fail", serial: 1, message: "x" },
      ]),
    ).toEqual(["failed"]);
  });

  it("knows the last VMM to the end", () => {
    const lifetime = newLifetimeId();
    const states = after(created, [
      { type: "boot", serial: 1 },
      { type: "launched", boot: { lifetime, notEnforced: ["limits"], timings: { admitMs: 1 } } },
      { type: "ready", serial: 1, kernel: "6.1", timings: { bootMs: 2 } },
      { type: "stop", serial: 2 },
      { type: "stopped", serial: 2 },
      { type: "destroy", serial: 3 },
      { type: "destroyed", destroyMs: 4 },
    ]);
    const boot = { lifetime, kernel: "6.1", notEnforced: ["limits"], timings: { admitMs: 1, bootMs: 2, destroyMs: 4 } };
    expect(states.at(-1)).toEqual({ phase: "destroyed", answeredSerial: 3, boot });
  });
});
