/** The one module of this package that starts processes. Argument arrays only; nothing goes through a shell. */
import { spawn } from "node:child_process";

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

/**
 * Runs a program to its end. Output beyond 64 KiB is cut off.
 * What takes longer than `timeoutMs` is killed, and its `stderr` says so.
 * @throws the system's error when it can't be started
 */
export async function run(
  file: string,
  args: readonly string[],
  options: { input?: string; timeoutMs?: number } = {},
): Promise<Outcome> {
  const timeoutMs = options.timeoutMs ?? 20_000;
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
  const tooLong = late && code === -1;
  return { code, stdout: stdout(), stderr: tooLong ? `took longer than ${timeoutMs / 1000} s` : stderr() };
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
