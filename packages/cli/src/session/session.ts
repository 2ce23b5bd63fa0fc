import { type Execution, type ExitStatus, SdkError } from "@exai/sdk";
import type { Interrupts } from "./interrupts.ts";
import type { LocalOutput } from "./output.ts";
import { DetachKeys, RawTerminal, terminalSize } from "./terminal.ts";

export interface SessionOptions {
  readonly output: LocalOutput;
  readonly interrupts: Interrupts;
  /** Hand on this process's standard input. */
  readonly stdin: boolean;
  /** Raw mode, window size, detach keys. */
  readonly terminal: boolean;
}

/**
 * Connects a program to this process until it ends. `undefined`: the person left it (detach keys, a second Ctrl-C, or
 * another client's detach).
 */
export async function runSession(execution: Execution, options: SessionOptions): Promise<ExitStatus | undefined> {
  const { interrupts, output } = options;
  using _raw = options.terminal ? new RawTerminal() : undefined;
  const quietly = (step: Promise<void>) => void step.catch(() => undefined); // it may have ended meanwhile
  const onResize = () => quietly(execution.resize(terminalSize()));
  const onLeave = () => execution.detach();
  interrupts.onFirst = () => quietly(execution.signal("INT"));
  interrupts.signal.addEventListener("abort", onLeave, { once: true });
  void output.broken.then(() => quietly(execution.signal("PIPE")));
  if (options.terminal) process.stdout.on("resize", onResize);
  const feeding = options.stdin ? feed(execution, options.terminal) : undefined;
  try {
    return await Promise.race([execution.waitOrDetach(), failureOf(feeding)]);
  } finally {
    interrupts.onFirst = undefined;
    interrupts.signal.removeEventListener("abort", onLeave);
    process.stdout.off("resize", onResize);
    if (options.stdin) process.stdin.pause().unref?.();
  }
}

async function feed(execution: Execution, terminal: boolean): Promise<void> {
  const keys = terminal ? new DetachKeys() : undefined;
  try {
    for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
      const bytes = keys === undefined ? chunk : keys.filter(chunk);
      if (bytes === undefined) return execution.detach();
      await execution.write(bytes);
    }
    if (!terminal) await execution.closeStdin();
  } catch (error) {
    // It closed its standard input or ended: what it did not want is dropped, as by a pipe.
    if (!(error instanceof SdkError) || !["precondition", "not-found"].includes(error.code)) throw error;
  }
}

/** Never resolves: only a failure counts. */
const failureOf = (step: Promise<void> | undefined): Promise<never> =>
  new Promise((_resolve, reject) => {
    step?.catch(reject);
  });
