/** One step of the build. `run` gets nothing: what a step hands on lies in the cache. */
export interface Step {
  name: string;
  /** Steps that must end well before. */
  needs: readonly string[];
  /** Nothing that a stack boots needs it. */
  testsOnly?: boolean;
  run: () => Promise<{ hit: boolean; note?: string }>;
}

export interface StepResult {
  name: string;
  hit: boolean;
  seconds: number;
  note?: string;
}

/**
 * Runs the steps in `targets` and all that they need, at most `parallel` at a time, those listed first first. After a
 * failure nothing new starts, what runs is awaited, and the first error is thrown.
 */
export async function runGraph(
  steps: readonly Step[],
  targets: readonly string[],
  options: {
    parallel: number;
    onDone: (result: StepResult) => void;
    onStart?: (name: string) => void;
    nowMs?: () => number;
  },
): Promise<StepResult[]> {
  const now = options.nowMs ?? (() => performance.now());
  const waiting = closure(steps, targets);
  const done = new Map<string, StepResult>();
  const running = new Map<string, Promise<void>>();
  let failed: { error: unknown } | undefined;
  const start = (step: Step): void => {
    const startedMs = now();
    options.onStart?.(step.name);
    const end = (result: StepResult) => {
      done.set(step.name, result);
      options.onDone(result);
    };
    const ended = step
      .run()
      .then((result) => end({ name: step.name, seconds: (now() - startedMs) / 1000, ...result }))
      .catch((error: unknown) => {
        failed ??= { error };
      })
      .finally(() => running.delete(step.name));
    running.set(step.name, ended);
  };
  for (;;) {
    for (const step of [...waiting]) {
      if (failed !== undefined || running.size >= options.parallel) break;
      if (!step.needs.every((need) => done.has(need))) continue;
      waiting.splice(waiting.indexOf(step), 1);
      start(step);
    }
    if (running.size === 0) break;
    await Promise.race(running.values());
  }
  if (failed !== undefined) throw failed.error;
  return [...done.values()];
}

/** The targets and what they need, in the order of `steps`. */
function closure(steps: readonly Step[], targets: readonly string[]): Step[] {
  const byName = new Map(steps.map((step) => [step.name, step]));
  const wanted = new Set<string>();
  const visit = (name: string, path: readonly string[]): void => {
    const step = byName.get(name);
    if (step === undefined)
      throw new RangeError(`there is no step '${name}'; there are: ${[...byName.keys()].join(", ")}`);
    if (path.includes(name)) throw new RangeError(`steps need each other: ${[...path, name].join(" → ")}`);
    if (wanted.has(name)) return;
    for (const need of step.needs) visit(need, [...path, name]);
    wanted.add(name);
  };
  for (const target of targets) visit(target, []);
  return steps.filter((step) => wanted.has(step.name));
}
