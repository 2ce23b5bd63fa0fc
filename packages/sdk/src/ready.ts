import { setTimeout as delay } from "node:timers/promises";
import type { ObservedPhase } from "@exai/api";
import { isConnectionFailure, toSdkError } from "./data/errors.ts";
import type { PlaneSource } from "./data/plane.ts";
import { SdkError } from "./errors.ts";

interface Awaited {
  readonly plane: PlaneSource;
  readonly until: (done: (phase: ObservedPhase) => boolean, signal: AbortSignal) => Promise<void>;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/**
 * Waits for the guest on the data plane, which knows first, while the control plane is watched for a refusal: a boot that
 * can't come is told at once and not after the whole time.
 */
export async function awaitGuest(what: Awaited): Promise<void> {
  const abort = new AbortController();
  const signal = what.signal === undefined ? abort.signal : AbortSignal.any([what.signal, abort.signal]);
  const failure = what
    .until((phase) => {
      if (phase === "stopped")
        throw new SdkError("not-running", "the workspace is stopped; start it with 'exai ws start'");
      return false;
    }, signal)
    .catch((error: unknown) => {
      // Only a verdict counts here: a control plane that is away does not keep a tenant from its guest.
      if (error instanceof SdkError && (error.code === "failed" || error.code === "not-running")) throw error;
      return new Promise<never>(() => undefined);
    });
  const answer = askGuest(what, signal);
  try {
    await Promise.race([answer, failure]);
  } finally {
    abort.abort();
    answer.catch(() => undefined);
    failure.catch(() => undefined);
  }
}

async function askGuest(what: Awaited, signal: AbortSignal): Promise<void> {
  const until = performance.now() + what.timeoutMs;
  for (;;) {
    const leftMs = Math.max(1, Math.floor(until - performance.now()));
    try {
      const { workspace } = await what.plane();
      await workspace.ready({ timeoutMs: leftMs }, { signal, timeoutMs: leftMs + 5000 });
      return;
    } catch (error) {
      const again = isConnectionFailure(error) && performance.now() < until && !signal.aborted;
      if (!again) throw toSdkError(error, "the guest did not become ready");
    }
    await delay(50);
  }
}
