import { spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { MachineError } from "./errors.ts";

export interface Running extends AsyncDisposable {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Settles with the exit code, or undefined when a signal ended it. */
  readonly exited: Promise<number | undefined>;
}

/**
 * The package's one way to start a program: no shell, an empty environment, errors to nowhere. Disposing kills it and
 * waits. `timeout` (coreutils) stands before it, so that it ends even when this process is killed.
 * @throws MachineError `exec`
 */
export async function startProgram(program: string, argv: readonly string[], seconds: number): Promise<Running> {
  const child = spawn("/usr/bin/timeout", ["--signal=KILL", `${seconds}`, program, ...argv], {
    stdio: ["pipe", "pipe", "ignore"],
    env: { PATH: "/usr/bin:/bin" },
    detached: true,
  });
  const exited = new Promise<number | undefined>((resolve) => {
    child.once("exit", (code) => resolve(code ?? undefined));
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause) => reject(new MachineError("exec", `${program} can't be started`, { cause })));
  });
  // A program that ended has closed its input; whoever waits for an answer notices.
  child.stdin.on("error", () => undefined);
  const { pid } = child;
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    exited,
    async [Symbol.asyncDispose]() {
      // The whole group: `timeout` makes one of its own, and KILL can't be passed on.
      if (child.exitCode === null && child.signalCode === null && pid !== undefined) process.kill(-pid, "SIGKILL");
      await exited;
    },
  };
}
