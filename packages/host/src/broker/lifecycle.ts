import { lifetimeId, observation, timestamp } from "@exai/api";
import { z } from "zod";
import { HostError } from "../errors.ts";

const message = z.string().max(500);

/** What is known of the VMM that was started last; a broker that was killed in between knows less. */
const boot = z.strictObject({
  lifetime: lifetimeId.optional(),
  kernel: z.string().max(100).optional(),
  timings: observation.shape.timings,
  notEnforced: z.array(z.string().max(100)).max(16),
});
export type Boot = z.infer<typeof boot>;

const common = {
  /** Serial of the intent that the phase answers to; a failed boot is not tried again under the same one. */
  answeredSerial: timestamp,
  boot: boot.optional(),
};

/** What survives the broker: where one workspace is in its life. docs/internals/broker.md draws it. */
export const lifecycle = z.discriminatedUnion("phase", [
  z.strictObject({ phase: z.literal("created"), ...common }),
  /** `restart`: it was running, and nobody asked for it to end. */
  z.strictObject({ phase: z.literal("booting"), ...common, restart: z.boolean(), message: message.optional() }),
  z.strictObject({ phase: z.literal("running"), ...common, boot }),
  z.strictObject({ phase: z.literal("stopping"), ...common }),
  z.strictObject({ phase: z.literal("stopped"), ...common, message: message.optional() }),
  z.strictObject({ phase: z.literal("failed"), ...common, message }),
  z.strictObject({ phase: z.literal("destroying"), ...common }),
  z.strictObject({ phase: z.literal("destroyed"), ...common }),
]);
export type Lifecycle = z.infer<typeof lifecycle>;

type Timings = NonNullable<Boot["timings"]>;

export type LifecycleEvent =
  | { readonly type: "boot"; readonly serial: number }
  | { readonly type: "launched"; readonly boot: Boot }
  | { readonly type: "wait"; readonly message: string }
  | { readonly type: "ready"; readonly serial: number; readonly kernel: string; readonly timings: Timings }
  | { readonly type: "fail"; readonly serial: number; readonly message: string }
  | { readonly type: "die"; readonly message: string }
  | { readonly type: "stop"; readonly serial: number }
  | { readonly type: "stopped"; readonly serial: number; readonly message?: string }
  | { readonly type: "destroy"; readonly serial: number }
  | { readonly type: "destroyed"; readonly destroyMs: number };

export const created: Lifecycle = { phase: "created", answeredSerial: 0 };

/**
 * The only way from one state to the next. Any step may come again after a kill of the broker, so a live workspace may
 * go from every phase to every other; what is being destroyed can only get destroyed, and that is the end.
 * @throws HostError `journal` for an event that can't happen in this state
 */
export function transition(state: Lifecycle, event: LifecycleEvent): Lifecycle {
  const { answeredSerial, boot: last } = state;
  const kept = last === undefined ? {} : { boot: last };
  const impossible = () =>
    new HostError("journal", `'${event.type}' can't happen to a workspace that is ${state.phase}`);
  if (state.phase === "destroyed") throw impossible();
  if (event.type === "destroy") return { phase: "destroying", answeredSerial: event.serial, ...kept };
  if (event.type === "destroyed") {
    if (state.phase !== "destroying") throw impossible();
    return { phase: "destroyed", answeredSerial, boot: { ...merged(last, { destroyMs: event.destroyMs }) } };
  }
  if (state.phase === "destroying") throw impossible();
  switch (event.type) {
    case "boot":
      if (state.phase === "booting") return { ...state, answeredSerial: event.serial };
      return { phase: "booting", answeredSerial: event.serial, restart: state.phase === "running" };
    case "launched":
    case "wait":
      if (state.phase !== "booting") throw impossible();
      return event.type === "wait"
        ? { ...state, message: event.message }
        : { ...withoutMessage(state), boot: event.boot };
    case "ready":
      return {
        phase: "running",
        answeredSerial: event.serial,
        boot: { ...merged(last, event.timings), kernel: event.kernel },
      };
    case "die":
      if (state.phase !== "running") throw impossible();
      return { phase: "booting", answeredSerial, restart: true, message: event.message, ...kept };
    case "fail":
      return { phase: "failed", answeredSerial: event.serial, message: event.message, ...kept };
    case "stop":
      return { phase: "stopping", answeredSerial: event.serial, ...kept };
    case "stopped":
      return {
        phase: "stopped",
        answeredSerial: event.serial,
        ...kept,
        ...(event.message === undefined ? {} : { message: event.message }),
      };
  }
}

/**
 * Whether a broker that finds `before` in its journal comes to `after` by itself: a first boot is what the signed goal asks
 * for, and a VMM that was launched is found running.
 */
export const foundAgain = (before: Lifecycle, after: Lifecycle): boolean =>
  after.phase === "booting" && (before.phase === "created" || (before.phase === "booting" && after.boot !== undefined));

function withoutMessage({ message: _, ...state }: Lifecycle & { phase: "booting" }): Lifecycle & { phase: "booting" } {
  return state;
}

const merged = (last: Boot | undefined, timings: Timings): Boot => ({
  notEnforced: [],
  ...last,
  timings: { ...last?.timings, ...timings },
});
