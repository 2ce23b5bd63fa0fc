import { watch } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { VmContext } from "./context.ts";
import { ifThere } from "./files.ts";
import { seatNow } from "./floor/vm-floor.ts";
import { inspect } from "./state.ts";

/** A launcher that was killed leaves no line behind; /proc tells then. */
const pollMs = 1_000;

/** Resolves when the VMM does not run, after `timeoutMs`, or when the caller has gone. */
export async function awaitExit(vm: VmContext, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const untilMs = performance.now() + timeoutMs;
  let changed = Promise.withResolvers<void>();
  using watcher = ifThere(() => watchFile(vm.paths.status, () => changed.resolve()));
  // Virtual CPUs of a snapshot come when it is loaded, after the launch.
  let seated = false;
  for (;;) {
    const leftMs = untilMs - performance.now();
    const state = inspect(vm);
    if (state.kind !== "running" || leftMs <= 0 || signal.aborted) return;
    if (!seated) seated = seatNow(vm, state.vmm.pid);
    const timer = new AbortController();
    const pause = sleep(Math.min(leftMs, watcher === undefined ? 50 : pollMs), undefined, { signal: timer.signal });
    const onAbort = () => changed.resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    await Promise.race([changed.promise, pause.catch(() => undefined)]);
    signal.removeEventListener("abort", onAbort);
    timer.abort();
    changed = Promise.withResolvers<void>();
  }
}

function watchFile(path: string, onChange: () => void): Disposable {
  const watcher = watch(path, onChange);
  watcher.on("error", onChange); // polling goes on
  return { [Symbol.dispose]: () => watcher.close() };
}
