import { spawn } from "node:child_process";
import { resolve } from "node:path";

const program = resolve(import.meta.dirname, "../../exai");

/** Runs `exai` as a user would, on a home of its own. */
export class Exai {
  readonly #home: string;
  readonly #signal: AbortSignal;

  constructor(home: string, signal: AbortSignal) {
    this.#home = home;
    this.#signal = signal;
  }

  /** @returns its standard output @throws with what it said when it failed */
  must(args: readonly string[]): Promise<string> {
    return this.#run(args, false, this.#signal);
  }

  /** Shows its output as it comes. */
  streamed(args: readonly string[]): Promise<string> {
    return this.#run(args, true, this.#signal);
  }

  /** For cleaning up: whatever happens, and also after an interrupt. */
  async quietly(args: readonly string[]): Promise<void> {
    await this.#run(args, false, undefined).catch(() => undefined);
  }

  #run(args: readonly string[], show: boolean, signal: AbortSignal | undefined): Promise<string> {
    const child = spawn(program, [...args], {
      env: {
        PATH: process.env["PATH"],
        HOME: process.env["HOME"],
        EXAI_CACHE: process.env["EXAI_CACHE"],
        EXAI_HOME: this.#home,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    // An interrupt goes to exai itself, which cleans up; it is not cut off.
    signal?.addEventListener("abort", () => child.kill("SIGINT"), { once: true });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString("utf8");
      if (show) process.stdout.write(chunk);
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString("utf8");
      if (show) process.stderr.write(chunk);
    });
    return new Promise((done, fail) => {
      child.once("error", fail);
      child.once("close", (code) => {
        if (code === 0) done(stdout);
        else fail(new Error(`exai ${args[0]} ended with ${code}: ${(stderr || stdout).trim().split("\n").at(-1)}`));
      });
    });
  }
}
