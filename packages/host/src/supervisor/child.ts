import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { describeError, type Logger } from "@exai/base";
import { startChild } from "../exec.ts";
import { LogFile } from "./log-file.ts";

export interface ChildPlan {
  readonly name: string;
  readonly argv: readonly [string, ...string[]];
  /** Made anew for each start, since a certificate lives as long as its process. One JSON document. */
  readonly config: () => Promise<unknown>;
  readonly logFile: string;
}

export interface ChildState {
  readonly name: string;
  readonly pid: number | undefined;
  readonly restarts: number;
}

const firstDelayMs = 50;
const longestDelayMs = 5_000;
/** A child that ran this long starts again without delay. */
const settledMs = 10_000;

/** Keeps one process running until disposed: configuration on its standard input, stderr into a bounded log. */
export class SupervisedChild implements AsyncDisposable {
  readonly #plan: ChildPlan;
  readonly #logger: Logger;
  readonly #log: LogFile;
  readonly #stopping = new AbortController();
  readonly #done: Promise<void>;
  #child: ChildProcess | undefined;
  #restarts = -1;

  constructor(plan: ChildPlan, logger: Logger) {
    this.#plan = plan;
    this.#logger = logger;
    this.#log = new LogFile(plan.logFile);
    this.#done = this.#keepRunning();
  }

  get state(): ChildState {
    return { name: this.#plan.name, pid: this.#child?.pid, restarts: Math.max(0, this.#restarts) };
  }

  async #keepRunning(): Promise<void> {
    let delayMs = firstDelayMs;
    while (!this.#stopping.signal.aborted) {
      const startedMs = performance.now();
      this.#restarts++;
      const how = await this.#runOnce();
      if (this.#stopping.signal.aborted) return;
      const ranMs = performance.now() - startedMs;
      delayMs = ranMs > settledMs ? firstDelayMs : Math.min(delayMs * 2, longestDelayMs);
      this.#logger.log("warn", "a process ended and is started again", {
        child: this.#plan.name,
        how,
        ranMs: Math.round(ranMs),
      });
      await waitOrAbort(delayMs, this.#stopping.signal);
    }
  }

  /** @returns how it ended, for the log */
  async #runOnce(): Promise<string> {
    let config: unknown;
    try {
      config = await this.#plan.config();
    } catch (error) {
      return `no configuration: ${describeError(error)}`;
    }
    if (this.#stopping.signal.aborted) return "stopped";
    const child = startChild({ argv: this.#plan.argv });
    this.#child = child;
    child.stdin?.on("error", () => undefined); // EPIPE when it died before it read: 'exit' tells
    child.stdin?.write(`${JSON.stringify(config)}\n`);
    child.stderr?.on("data", (chunk: Buffer) => this.#log.write(chunk));
    child.stdout?.on("data", (chunk: Buffer) => this.#log.write(chunk));
    const how = await new Promise<string>((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(signal ?? `exit ${code}`));
    });
    this.#child = undefined;
    return how;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    const child = this.#child;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const ended = once(child, "exit");
      child.stdin?.end();
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 5_000);
      await ended;
      clearTimeout(timer);
    }
    await this.#done;
    this.#log[Symbol.dispose]();
  }
}

async function waitOrAbort(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done, { once: true });
  });
}
