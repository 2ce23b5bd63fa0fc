import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { createIpcClient } from "@exai/ipc";
import { supervisorContract } from "../contracts.ts";
import { HostError } from "../errors.ts";
import { findHome } from "../home/home.ts";
import { lockHome } from "../home/lock.ts";
import { runPaths } from "../home/paths.ts";
import { removeHome } from "../home/remove-home.ts";
import { releaseUidRange } from "../home/uid-range.ts";
import type { CommandIo, HomeOption } from "./io.ts";
import { sweep } from "./sweep.ts";

export interface DownOptions extends HomeOption {
  /** Leave the microVMs running, for an upgrade of the stack. */
  keepVms: boolean;
  /** Remove the home with every workspace in it. */
  purge: boolean;
}

/** Stops the stack: guests power off, workspaces stay on disk and run again at the next `up`. */
export async function downCommand(options: DownOptions, io: CommandIo): Promise<number> {
  const { paths, stack } = findHome(resolve(options.home));
  const path = paths.home;
  const wasRunning = await stopSupervisor(stack, options.keepVms && !options.purge);
  if (!wasRunning && !options.purge)
    throw new HostError("not-running", `no stack runs on ${path}; start one with 'exai up -d'`);
  if (options.purge) {
    // A supervisor that has answered holds the lock for a moment longer.
    using _lock = await lockHome(path, wasRunning ? 10_000 : 0);
    await sweep(path);
    releaseUidRange(path);
    removeHome(path);
  } else await settled(path);
  if (io.json) io.stdout(`${JSON.stringify({ stack, stopped: wasRunning, purged: options.purge })}\n`);
  else io.stdout(options.purge ? `${path} is gone with everything in it\n` : `the stack on ${path} is down\n`);
  return 0;
}

/** A supervisor that has answered holds the lock for a moment longer, and the next 'exai up' may be in a hurry. */
async function settled(home: string): Promise<void> {
  const lock = await lockHome(home, 10_000).catch(() => undefined); // somebody was in a hurry: it is theirs
  lock?.[Symbol.dispose]();
}

async function stopSupervisor(stack: string, keepVms: boolean): Promise<boolean> {
  const socket = runPaths(stack).supervisorSocket;
  if (!existsSync(socket)) return false;
  using supervisor = createIpcClient(socket, supervisorContract);
  try {
    await supervisor.call("stop", { keepVms });
  } catch {
    return false; // a socket that a killed supervisor left
  }
  const untilMs = Date.now() + 90_000;
  while (Date.now() < untilMs) {
    if (!(await answers(socket))) return true;
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new HostError("child", "the stack did not stop within 90 s; see its logs");
}

async function answers(socket: string): Promise<boolean> {
  if (!existsSync(socket)) return false;
  using supervisor = createIpcClient(socket, supervisorContract);
  return supervisor.call("status", {}, { timeoutMs: 2_000 }).then(
    () => true,
    (error: unknown) => error instanceof Error && "code" in error && error.code === "timeout",
  );
}
