/** The one module of this package that starts processes. Argument arrays only; nothing goes through a shell. */
import { spawn } from "node:child_process";
import { Spawner } from "./spawner.ts";

/** Nothing of the operator's environment reaches a child. */
const cleanEnvironment = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8" };
const maxOutputBytes = 64 << 10;

export interface Outcome {
  /** Exit code; -1 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  /** What it said; of one that was killed for its time, only that. */
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
}

let launcher: string | undefined;
let spawner: Spawner | undefined;

/** From now on `run` starts programs by `exai-launcher spawner`, which is cheaper than a fork of this process. */
export function useSpawner(path: string): void {
  launcher = path;
}

function currentSpawner(): Spawner | undefined {
  if (launcher === undefined || spawner?.serves) return spawner;
  const child = spawn(launcher, ["spawner"], { cwd: "/", env: cleanEnvironment, stdio: ["pipe", "pipe", "inherit"] });
  child.on("error", () => undefined); // its output closes, too
  spawner = new Spawner(child.stdin, child.stdout);
  return spawner;
}

/**
 * Runs a program to its end. Output beyond 64 KiB is cut off.
 * What takes longer than `timeoutMs` is killed, and its `stderr` says so.
 * A program may be started a second time, when the spawner is killed meanwhile: every step of the agent can be repeated.
 * @throws when it can't be started
 */
export async function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const timeoutMs = options.timeoutMs ?? 20_000;
  const ended = await currentSpawner()?.run({ file, args, input: options.input ?? "", timeoutMs });
  if (ended === undefined) return fork(file, args, options, timeoutMs);
  return { code: ended.code ?? -1, stdout: ended.stdout, stderr: ended.late ? tooLong(timeoutMs) : ended.stderr };
}

const tooLong = (timeoutMs: number): string => `took longer than ${timeoutMs / 1000} s`;

async function fork(file: string, args: readonly string[], options: RunOptions, timeoutMs: number): Promise<Outcome> {
  const child = spawn(file, [...args], {
    cwd: "/",
    env: cleanEnvironment,
    stdio: ["pipe", "pipe", "pipe"],
  });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, timeoutMs);
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  child.stdin.on("error", () => undefined); // it ended without reading: its exit code tells why
  child.stdin.end(options.input ?? "");
  const code = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exit) => resolve(exit ?? -1));
  }).finally(() => clearTimeout(timer));
  return { code, stdout: stdout(), stderr: late && code === -1 ? tooLong(timeoutMs) : stderr() };
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => {
    if (bytes < maxOutputBytes) chunks.push(chunk.subarray(0, maxOutputBytes - bytes));
    bytes += chunk.length;
  });
  return () => Buffer.concat(chunks).toString("utf8");
}
