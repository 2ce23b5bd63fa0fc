import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const repository = resolve(import.meta.dirname, "../..");
const exai = join(repository, "exai");

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

export interface RunOptions {
  input?: string | Buffer;
  timeoutMs?: number;
  env?: Readonly<Record<string, string>>;
  cwd?: string;
}

/** A real stack on a temporary home, started by the program that users start. Leaves nothing when disposed. */
export class TestStack implements AsyncDisposable {
  readonly home: string;

  private constructor(home: string) {
    this.home = home;
  }

  /** `prepare` may put something into the empty home before it is started for the first time. */
  static async start(
    args: readonly string[] = [],
    prepare?: (home: string) => void,
    options: RunOptions = {},
  ): Promise<TestStack> {
    const stack = new TestStack(mkdtempSync(join(tmpdir(), "exai-e2e-")));
    try {
      prepare?.(stack.home);
      await stack.must(["up", "-d", ...args], options);
    } catch (error) {
      await stack[Symbol.asyncDispose]();
      throw error;
    }
    return stack;
  }

  /** Starts `exai` and hands over the process. */
  spawn(args: readonly string[], options: RunOptions = {}): ChildProcess {
    return spawn(exai, [...args], {
      cwd: options.cwd ?? "/",
      env: {
        PATH: process.env["PATH"],
        HOME: process.env["HOME"],
        EXAI_CACHE: process.env["EXAI_CACHE"],
        EXAI_HOME: this.home,
        ...options.env,
      },
      stdio: "pipe",
    });
  }

  /** Runs `exai` to its end, whatever its exit code. */
  async exai(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const startedMs = performance.now();
    const child = this.spawn(args, options);
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout?.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on("data", (chunk: Buffer) => stderr.push(chunk));
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(options.input ?? "");
    const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? 120_000);
    const code = await new Promise<number>((done, reject) => {
      child.once("error", reject);
      child.once("close", (exit, signal) => done(exit ?? (signal === null ? 255 : 256)));
    }).finally(() => clearTimeout(timer));
    const text = (chunks: Buffer[]) => Buffer.concat(chunks).toString("utf8");
    return { code, stdout: text(stdout), stderr: text(stderr), ms: performance.now() - startedMs };
  }

  /** Runs `exai` and throws, with what it said, when it fails. */
  async must(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const ran = await this.exai(args, options);
    if (ran.code !== 0)
      throw new Error(`exai ${args.join(" ")} ended with ${ran.code}: ${ran.stderr.trim() || ran.stdout.trim()}`);
    return ran;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.exai(["down", "--purge"]);
    rmSync(this.home, { recursive: true, force: true });
  }
}
