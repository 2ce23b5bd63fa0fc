/** The one module of this package that starts processes. Argument arrays only; nothing goes through a shell. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { promisify } from "node:util";

const execute = promisify(execFile);

/**
 * The environment that our processes get: nothing of the operator's, no secrets. The last two tune glibc (mallopt(3)):
 * with an arena for each of Node's threads, a channel that copied 512 MiB kept 60 MiB for ever; with one, 14.
 */
const cleanEnvironment = {
  PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
  LANG: "C.UTF-8",
  MALLOC_ARENA_MAX: "1",
  MALLOC_MMAP_THRESHOLD_: "65536",
};

export interface ChildSpec {
  argv: readonly [string, ...string[]];
  environment?: Readonly<Record<string, string>>;
}

/** A long-lived child with its standard input open (its end tells the child that we are gone) and stderr piped. */
export function startChild(spec: ChildSpec): ChildProcess {
  const [file, ...args] = spec.argv;
  return spawn(file, args, {
    cwd: "/",
    env: { ...cleanEnvironment, ...spec.environment },
    stdio: ["pipe", "pipe", "pipe"],
  });
}

/** A process that outlives us; its output goes to the given descriptor. */
export function startDetached(
  argv: readonly [string, ...string[]],
  environment: NodeJS.ProcessEnv,
  outputFd: number,
): ChildProcess {
  const [file, ...args] = argv;
  const child = spawn(file, args, {
    detached: true,
    env: environment,
    cwd: "/",
    stdio: ["ignore", outputFd, outputFd],
  });
  child.unref();
  return child;
}

/** Runs a program to its end. Bounded in time and output. */
export async function run(
  file: string,
  args: readonly string[],
  timeoutMs = 10_000,
): Promise<{ stdout: string; stderr: string }> {
  return execute(file, [...args], {
    env: cleanEnvironment,
    timeout: timeoutMs,
    maxBuffer: 1 << 20,
    killSignal: "SIGKILL",
  });
}

/** Runs a program to its end with `fd` as its descriptor 3. @returns its exit code, or undefined after a signal */
export async function runOnFile(file: string, args: readonly string[], fd: number): Promise<number | undefined> {
  const child = spawn(file, args, {
    cwd: "/",
    env: cleanEnvironment,
    timeout: 10_000,
    killSignal: "SIGKILL",
    stdio: ["ignore", "ignore", "ignore", fd],
  });
  return await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? undefined));
  });
}
