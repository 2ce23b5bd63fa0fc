import type { TestStack } from "../../tests/support/stack.ts";
import type { Result } from "./result.ts";

/** What each benchmark gets. */
export interface BenchContext {
  readonly stack: TestStack;
  readonly rounds: number;
  /** Most VMs that `vms-at-once` starts. */
  readonly maxVms: number;
  readonly signal: AbortSignal;
  /** Progress, on standard error. */
  say(line: string): void;
}

/** One piece of work that gives one or more figures. */
export type Bench = (context: BenchContext) => Promise<Result[]>;

/** Waits for the step, or throws as soon as the run is interrupted. */
export function orInterrupted<T>(step: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(new Error("interrupted"));
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(new Error("interrupted"));
    signal.addEventListener("abort", onAbort, { once: true });
    step.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
