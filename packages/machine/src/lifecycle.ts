import { unreachable } from "@exai/base";

/** How a VMM ended. */
export interface MachineExit {
  readonly code?: number | undefined;
  readonly signal?: number | undefined;
}

/** One microVM's life. No event leads to `sealed` yet: it comes with keys. */
export type MachineState =
  | { readonly phase: "created" }
  | { readonly phase: "booting" }
  | { readonly phase: "running" }
  | { readonly phase: "pausing" }
  | { readonly phase: "paused" }
  | { readonly phase: "resuming" }
  | { readonly phase: "stopping" }
  | { readonly phase: "stopped"; readonly exit: MachineExit }
  | { readonly phase: "failed"; readonly reason: string }
  | { readonly phase: "sealed" }
  | { readonly phase: "destroying" }
  | { readonly phase: "destroyed" };

export type MachineEvent =
  | { readonly kind: "launch" }
  /** Launched from a snapshot. */
  | { readonly kind: "load" }
  | { readonly kind: "pause" }
  /** The processors stand still. */
  | { readonly kind: "paused" }
  | { readonly kind: "resume" }
  /** The guest said hello. */
  | { readonly kind: "ready" }
  | { readonly kind: "stop" }
  /** The VMM is gone, whoever wished it. */
  | { readonly kind: "exited"; readonly exit: MachineExit }
  | { readonly kind: "fail"; readonly reason: string }
  | { readonly kind: "destroy" }
  | { readonly kind: "removed" };

export type Phase = MachineState["phase"];

/**
 * The next state, or undefined when the event can't happen in this one. To destroy is possible in every state but the
 * last two: containing never waits for a life to be in order.
 */
export function nextState(state: MachineState, event: MachineEvent): MachineState | undefined {
  switch (event.kind) {
    case "launch":
      return state.phase === "created" || state.phase === "stopped" || state.phase === "failed"
        ? { phase: "booting" }
        : undefined;
    case "load":
      return state.phase === "created" || state.phase === "stopped" || state.phase === "failed"
        ? { phase: "resuming" }
        : undefined;
    case "ready":
      // A guest that reboots by itself says hello again.
      return ["booting", "resuming", "running"].includes(state.phase) ? { phase: "running" } : undefined;
    case "pause":
      return state.phase === "running" ? { phase: "pausing" } : undefined;
    case "paused":
      return state.phase === "pausing" ? { phase: "paused" } : undefined;
    case "resume":
      // Also out of a pause that did not come to its end.
      return state.phase === "paused" || state.phase === "pausing" ? { phase: "resuming" } : undefined;
    case "stop":
      return hasVmm(state) && state.phase !== "stopping" ? { phase: "stopping" } : undefined;
    case "exited":
      return exited(state, event.exit);
    case "fail":
      return hasVmm(state) || state.phase === "created" ? { phase: "failed", reason: event.reason } : undefined;
    case "destroy":
      return state.phase === "destroying" || state.phase === "destroyed" ? undefined : { phase: "destroying" };
    case "removed":
      return state.phase === "destroying" ? { phase: "destroyed" } : undefined;
    default:
      return unreachable(event);
  }
}

function exited(state: MachineState, exit: MachineExit): MachineState | undefined {
  if (!hasVmm(state)) return undefined;
  if (state.phase === "booting" || state.phase === "resuming")
    return { phase: "failed", reason: "the VMM ended before the guest was ready" };
  return { phase: "stopped", exit };
}

/** Whether a VMM may be there. */
export const hasVmm = (state: MachineState): boolean =>
  ["booting", "running", "pausing", "paused", "resuming", "stopping"].includes(state.phase);
