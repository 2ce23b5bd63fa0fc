import { closeSync, openSync, readFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { createLogger, describeError } from "@exai/base";
import { createIpcClient } from "@exai/ipc";
import { type StackStatus, supervisorContract } from "../contracts.ts";
import { chooseAccelerator } from "../doctor/accelerator.ts";
import { type FirecrackerChoice, findFirecracker } from "../doctor/firecracker.ts";
import { enrolHost } from "../enrol/host.ts";
import { enrolReleaseKeys, releaseKeys } from "../enrol/releases.ts";
import { createLocalTenant, enrolledTenants } from "../enrol/tenants.ts";
import { HostError } from "../errors.ts";
import { startDetached } from "../exec.ts";
import { openHome, prepareHome } from "../home/home.ts";
import { lockEnrolment, lockHome } from "../home/lock.ts";
import { runPaths } from "../home/paths.ts";
import type { StackOptions } from "../supervisor/plans.ts";
import { Stack } from "../supervisor/stack.ts";
import type { CommandIo, HomeOption } from "./io.ts";
import { requireHost } from "./require-host.ts";

export interface UpOptions extends HomeOption {
  detach: boolean;
  production: boolean;
  /** Folder of the image store; set-up builds it. */
  imageStore: string;
  /** Name of the tenant that a fresh stack gets. */
  tenant?: string | undefined;
  /** Where KVM works; default: the host's own, if it has one. */
  firecracker?: FirecrackerChoice;
  /** MiB that may be promised to microVMs; default: the machine's memory less a reserve. */
  memoryMib?: number | undefined;
}

const reserveMib = 1024;

/** Starts the stack on a home and keeps it running until it is asked to stop. @returns the exit code */
export async function upCommand(options: UpOptions, io: CommandIo): Promise<number> {
  requireHost(options);
  return options.detach ? detach(options, io) : foreground(options, io);
}

async function foreground(options: UpOptions, io: CommandIo): Promise<number> {
  const startedAtMs = Date.now();
  const { home: place } = prepareHome(resolve(options.home));
  using _lock = await lockHome(place);
  // Not before: 'down --purge' may have been removing what would be made here.
  const home = openHome(place, startedAtMs);
  const logger = createLogger({ process: "supervisor", write: (line) => io.stderr(line) });
  const stackOptions = await assemble(options, home, startedAtMs);
  await using stack = new Stack(stackOptions.options, { acceleratorReason: stackOptions.reason, startedAtMs, logger });
  const onAbort = () => stack.requestStop(false);
  io.signal.addEventListener("abort", onAbort, { once: true });
  await stack.start();
  report(await stack.status(), io);
  if (io.signal.aborted) onAbort();
  await stack.stopRequested;
  return 0;
}

async function assemble(options: UpOptions, home: ReturnType<typeof openHome>, nowMs: number) {
  using lock = await lockEnrolment(home.paths.home);
  const host = await enrolHost(home, nowMs);
  enrolReleaseKeys(options.imageStore, home.paths.releases);
  if (enrolledTenants(home).length === 0) createLocalTenant(home, options.tenant ?? "local", host, options.imageStore);
  lock[Symbol.dispose]();
  const chosen = await chooseAccelerator(options.imageStore, releaseKeys(home.paths.releases), home.paths.probe);
  if (options.production && chosen.accelerator === "tcg") {
    throw new HostError("platform", `production needs KVM: ${chosen.reason}; see 'exai doctor'`);
  }
  const memoryMib = options.memoryMib ?? Math.max(512, Math.floor(totalmem() / 2 ** 20) - reserveMib);
  const result: StackOptions = {
    home,
    host,
    tenants: enrolledTenants(home),
    imageStore: options.imageStore,
    launcher: launcherPath(),
    qemu: "/usr/bin/qemu-system-x86_64",
    firecracker: chosen.accelerator === "kvm" ? await findFirecracker(options.firecracker) : undefined,
    accelerator: chosen.accelerator,
    tscKhz: chosen.tscKhz,
    production: options.production,
    capacity: { memoryMib, vms: Math.max(64, cpus().length * 32) },
  };
  return { options: result, reason: chosen.reason };
}

export const launcherPath = (): string =>
  resolve(import.meta.dirname, "../../../../native/target/x86_64-unknown-linux-musl/release/exai-launcher");

async function detach(options: UpOptions, io: CommandIo): Promise<number> {
  const { home: place } = prepareHome(resolve(options.home));
  // Asked before anything of a stack that runs is touched; the child takes it again.
  (await lockHome(place))[Symbol.dispose]();
  const home = openHome(place, Date.now());
  const logFile = join(home.paths.logs, "up.log");
  const output = openSync(logFile, "w", 0o644);
  const entry = process.argv[1];
  if (entry === undefined) throw new HostError("child", "the program's own path is not known");
  const argv = process.argv.slice(2).filter((arg) => arg !== "-d" && arg !== "--detach" && arg !== "--json");
  const child = startDetached([process.execPath, ...process.execArgv, entry, ...argv], process.env, output);
  closeSync(output);
  const ended = new Promise<number>((done) => child.once("exit", (code) => done(code ?? 1)));
  using supervisor = createIpcClient(runPaths(home.stack).supervisorSocket, supervisorContract);
  for (const untilMs = Date.now() + 60_000; Date.now() < untilMs; ) {
    const status = await supervisor.call("status", {}, { timeoutMs: 5_000 }).catch(() => undefined);
    if (status?.ready === true && status.processes.some((each) => each.pid === child.pid)) {
      report(status, io);
      return 0;
    }
    const code = await Promise.race([ended, new Promise<undefined>((done) => void setTimeout(done, 20, undefined))]);
    if (code !== undefined) throw new HostError("child", lastLine(logFile));
  }
  throw new HostError("child", `the stack was not ready after 60 s; see ${logFile} and 'exai status'`);
}

function lastLine(file: string): string {
  try {
    return (
      readFileSync(file, "utf8")
        .trim()
        .split("\n")
        .at(-1)
        ?.replace(/^exai: /, "") ?? ""
    );
  } catch (error) {
    return describeError(error);
  }
}

function report(status: StackStatus, io: CommandIo): void {
  if (io.json) {
    io.stdout(`${JSON.stringify(status)}\n`);
    return;
  }
  const how = status.accelerator === "kvm" ? "KVM" : "emulation, for development only";
  io.stdout(`exai ${status.version} is up on ${status.home} (${how})\n`);
  for (const { name } of status.tenants) io.stdout(`  tenant ${name}\n`);
  io.stdout("next: exai run -- uname -a      (exai status says what is not protected yet)\n");
}
