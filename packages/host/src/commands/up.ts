import { cpus, totalmem } from "node:os";
import { resolve } from "node:path";
import type { DoctorReport } from "@exai/api/host";
import { createLogger } from "@exai/base";
import type { StackStatus } from "../contracts.ts";
import { chooseAccelerator } from "../doctor/accelerator.ts";
import { doctorContext } from "../doctor/context.ts";
import { examine, requireFit, summaryOf } from "../doctor/examine.ts";
import { type Firecracker, type FirecrackerChoice, findFirecracker } from "../doctor/firecracker.ts";
import { enrolHost } from "../enrol/host.ts";
import { enrolReleaseKeys, releaseKeys } from "../enrol/releases.ts";
import { createLocalTenant, enrolledTenants } from "../enrol/tenants.ts";
import { HostError } from "../errors.ts";
import { openHome, prepareHome } from "../home/home.ts";
import { lockEnrolment, lockHome } from "../home/lock.ts";
import { keepFirecracker } from "../supervisor/kept-firecracker.ts";
import { launcherPath } from "../supervisor/launcher-path.ts";
import type { StackOptions } from "../supervisor/plans.ts";
import { Stack } from "../supervisor/stack.ts";
import { detach, ownArgv, supervisorLog } from "./detach.ts";
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
  // Before anything is made: a host that is refused keeps nothing of the attempt.
  await requireFirecracker(options);
  const fit = options.production ? requireFit(await examineFor(options)) : undefined;
  if (!options.detach) return await foreground(options, io, fit);
  report(await detach(options.home, ownArgv()), io);
  return 0;
}

async function foreground(options: UpOptions, io: CommandIo, fit: DoctorReport | undefined): Promise<number> {
  const startedAtMs = Date.now();
  const { home: place } = prepareHome(resolve(options.home));
  using _lock = await lockHome(place);
  // Not before: 'down --purge' may have been removing what would be made here.
  const home = openHome(place, startedAtMs);
  using log = supervisorLog(home.paths, (line) => io.stderr(line));
  const logger = createLogger({ process: "supervisor", write: (line) => log.write(line) });
  const stackOptions = await assemble(options, home, startedAtMs, fit);
  await using stack = new Stack(stackOptions.options, { acceleratorReason: stackOptions.reason, startedAtMs, logger });
  const onAbort = () => stack.requestStop(false);
  io.signal.addEventListener("abort", onAbort, { once: true });
  await stack.start();
  report(await stack.status(), io);
  if (io.signal.aborted) onAbort();
  await stack.stopRequested;
  return 0;
}

async function assemble(
  options: UpOptions,
  home: ReturnType<typeof openHome>,
  nowMs: number,
  fit: DoctorReport | undefined,
) {
  using lock = await lockEnrolment(home.paths.home);
  const host = await enrolHost(home, nowMs);
  enrolReleaseKeys(options.imageStore, home.paths.releases);
  if (enrolledTenants(home).length === 0) createLocalTenant(home, options.tenant ?? "local", host, options.imageStore);
  lock[Symbol.dispose]();
  const chosen = await chooseAccelerator(options.imageStore, releaseKeys(home.paths.releases), home.paths.probe);
  if (options.production && chosen.accelerator === "tcg") {
    throw new HostError("platform", `production needs KVM: ${chosen.reason}; see 'exai doctor'`);
  }
  // Not before, where it need not refuse: what takes a boot of a guest was just found and is kept in the home.
  const checked = summaryOf(fit ?? (await examineFor(options)));
  const memoryMib = options.memoryMib ?? Math.max(512, Math.floor(totalmem() / 2 ** 20) - reserveMib);
  const result: StackOptions = {
    home,
    host,
    tenants: enrolledTenants(home),
    imageStore: options.imageStore,
    launcher: launcherPath(),
    qemu: "/usr/bin/qemu-system-x86_64",
    firecracker: chosen.accelerator === "kvm" ? await ownFirecracker(options, home.paths.vmm) : undefined,
    accelerator: chosen.accelerator,
    tscKhz: chosen.tscKhz,
    production: options.production,
    checked,
    capacity: { memoryMib, vms: Math.max(64, cpus().length * 32) },
  };
  return { options: result, reason: chosen.reason };
}

/** Who names a Firecracker means it: it is not left aside on a host where it can't run. */
async function requireFirecracker({ home, imageStore, firecracker }: UpOptions): Promise<void> {
  if (firecracker?.path === undefined) return;
  await findFirecracker(firecracker);
  const { probeKvm } = await doctorContext({ home: resolve(home), imageStore, firecracker });
  const { works, reason } = await probeKvm();
  if (works) return;
  const instead = "without --firecracker QEMU emulates the microVMs";
  throw new HostError("platform", `Firecracker needs KVM, and ${reason}; ${instead}`);
}

async function ownFirecracker({ firecracker }: UpOptions, folder: string): Promise<Firecracker | undefined> {
  const found = await findFirecracker(firecracker);
  return found === undefined ? undefined : await keepFirecracker(found, folder);
}

const examineFor = async ({ home, imageStore, firecracker, production }: UpOptions): Promise<DoctorReport> =>
  examine(
    production ? "production" : "development",
    await doctorContext({ home: resolve(home), imageStore, firecracker }),
  );

function report(status: StackStatus, io: CommandIo): void {
  if (io.json) {
    io.stdout(`${JSON.stringify(status)}\n`);
    return;
  }
  const how = status.accelerator === "kvm" ? "KVM" : "emulation, for development only";
  io.stdout(`exai ${status.version} is up on ${status.home} (${how})\n`);
  if (status.accelerator === "tcg") io.stdout(`  KVM is not used: ${status.acceleratorReason}\n`);
  for (const { name } of status.tenants) io.stdout(`  tenant ${name}\n`);
  io.stdout("next: exai run -- uname -a      (exai status says what is not protected yet)\n");
}
