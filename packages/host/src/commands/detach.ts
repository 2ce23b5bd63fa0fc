import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createIpcClient } from "@exai/ipc";
import { type StackStatus, supervisorContract } from "../contracts.ts";
import { HostError } from "../errors.ts";
import { startDetached } from "../exec.ts";
import { type Home, openHome, prepareHome } from "../home/home.ts";
import { lockHome } from "../home/lock.ts";
import { type HomePaths, runPaths } from "../home/paths.ts";
import { LogFile } from "../supervisor/log-file.ts";

/** Tells `exai up` that nobody reads its standard error, which goes to a file that it must bound itself. */
const mark = "EXAI_DETACHED";

const upLog = (paths: HomePaths): string => join(paths.logs, "up.log");

/** Where a supervisor writes its log: in the background a bounded file, else wherever its standard error goes. */
export function supervisorLog(paths: HomePaths, stderr: (line: string) => void, env = process.env) {
  if (env[mark] === undefined) return { write: stderr, [Symbol.dispose]: () => undefined };
  return new LogFile(upLog(paths));
}

/** This program as it was called, less what only who waits for it needs. */
export function ownArgv(): [string, ...string[]] {
  const entry = process.argv[1];
  if (entry === undefined) throw new HostError("child", "the program's own path is not known");
  const words = process.argv.slice(2).filter((arg) => arg !== "-d" && arg !== "--detach" && arg !== "--json");
  return [process.execPath, ...process.execArgv, entry, ...words];
}

/** Longer than the supervisor itself waits for its broker: it says more of what failed. */
const readyMs = 180_000;

/**
 * Starts a supervisor that outlives us, and waits until its stack is ready.
 * @throws HostError `locked` before anything of a stack that runs is touched; `child` with what the supervisor said last
 */
export async function detach(path: string, argv: readonly [string, ...string[]]): Promise<StackStatus> {
  const { home, output } = await openFree(resolve(path));
  const logFile = upLog(home.paths);
  const begin = fstatSync(output).size;
  const child = startDetached(argv, { ...process.env, [mark]: "1" }, output);
  closeSync(output);
  const ended = new Promise<number>((done) => child.once("exit", (code) => done(code ?? 1)));
  using supervisor = createIpcClient(runPaths(home.stack).supervisorSocket, supervisorContract);
  for (const untilMs = Date.now() + readyMs; Date.now() < untilMs; ) {
    const status = await supervisor.call("status", {}, { timeoutMs: 5_000 }).catch(() => undefined);
    if (status?.ready === true && status.processes.some((each) => each.pid === child.pid)) return status;
    const code = await Promise.race([ended, new Promise<undefined>((done) => void setTimeout(done, 20, undefined))]);
    if (code !== undefined) throw new HostError("child", lastWords(logFile, begin));
  }
  throw new HostError("child", `the stack was not ready after ${readyMs / 1000} s; see ${logFile} and 'exai status'`);
}

/** The lock is taken while the home is opened and the log begun; the child takes it again, or says who was faster. */
async function openFree(path: string): Promise<{ home: Home; output: number }> {
  const { home: place } = prepareHome(path);
  using _lock = await lockHome(place);
  const home = openHome(place, Date.now());
  // A line for each start, by the hand that bounds the file; the child's own output is appended, never cut off.
  using log = new LogFile(upLog(home.paths));
  log.write(`${new Date().toISOString()} exai up\n`);
  return { home, output: openSync(upLog(home.paths), "a", 0o644) };
}

/** An error that ended the program has its name before it; the log of another start may lie around it. */
function lastWords(file: string, begin: number): string {
  const lines = readFileSync(file).subarray(begin).toString().trim().split("\n");
  const error = lines.findLast((line) => line.startsWith("exai: ")) ?? lines.at(-1);
  return error?.replace(/^exai: /, "") || `the supervisor ended without a word; see ${file}`;
}
