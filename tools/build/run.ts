import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { BuildError } from "./errors.ts";

/** The only module of the build that starts programs. */

export interface RunOptions {
  cwd?: string;
  /** Added to, or with `undefined` removed from, our own environment. */
  env?: Record<string, string | undefined>;
  onLine?: (line: string) => void;
  input?: Uint8Array;
  /** Take the output whatever the exit code is. */
  anyExit?: boolean;
}

/** Running programs; each leads a process group, since make and mmdebstrap have children of their own. */
const running = new Set<number>();
let stopping = false;

/** Ends what runs; every `run` then fails, so that whoever waits can clean up. */
export function stopAll(): void {
  stopping = true;
  for (const pid of running) {
    try {
      process.kill(-pid, "SIGTERM");
    } catch {
      // It has ended by itself.
    }
  }
}

const tailLines = 25;
const maxOutput = 64 * 2 ** 20;

/** @returns standard output. @throws BuildError `run` with the last lines of what the program said */
export async function run(argv: readonly [string, ...string[]], options: RunOptions = {}): Promise<string> {
  if (stopping) throw new BuildError("run", "stopped");
  const [program, ...args] = argv;
  const env: NodeJS.ProcessEnv = { ...process.env, LC_ALL: "C.UTF-8", ...options.env };
  const child = spawn(program, args, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env,
    stdio: "pipe",
    detached: true,
  });
  const { pid } = child;
  if (pid !== undefined) running.add(pid);
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input);
  const tail: string[] = [];
  const output: string[] = [];
  let size = 0;
  const take = (line: string, isOutput: boolean) => {
    tail.push(line);
    if (tail.length > tailLines) tail.shift();
    options.onLine?.(line);
    if (!isOutput || size > maxOutput) return;
    size += line.length;
    output.push(line);
  };
  createInterface({ input: child.stdout }).on("line", (line) => take(line, true));
  createInterface({ input: child.stderr }).on("line", (line) => take(line, false));
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  child.once("error", (cause) => reject(new BuildError("run", `${program} can't be started`, { cause })));
  child.once("close", (code, signal) => {
    if (pid !== undefined) running.delete(pid);
    if (code === 0 || (options.anyExit === true && code !== null)) resolve(output.join("\n"));
    else reject(new BuildError("run", `${program} ended with ${code ?? signal}:\n${tail.join("\n")}`));
  });
  return promise;
}
