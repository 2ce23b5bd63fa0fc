import { dirname } from "node:path";
import { jail, type LaunchRequest } from "@exai/api/host";
import { blobPath } from "./blobs.ts";
import type { VmContext } from "./context.ts";
import { NodeError } from "./errors.ts";
import type { SnapshotFiles } from "./snapshot/check.ts";

/** At most this much is kept of what comes out of a VMM, in each file and its older half together; all of one VM, with Firecracker's log and metrics, at most 1 MiB. */
export const outputBytes = { console: 640 << 10, vmm: 128 << 10 } as const;
/** What a snapshot's state may take beside the memory. */
const stateMib = 64;

/** What a VMM needs beside its guest's memory, in MiB; an emulator also keeps translated code, as its driver sizes it. */
const overheadMib = (request: LaunchRequest): number =>
  128 + (request.kvm ? 0 : Math.min(256, Math.max(16, Math.floor(request.memoryMib / 8))));

export function launchLimits(request: LaunchRequest) {
  return {
    memoryBytes: (request.memoryMib + overheadMib(request)) * 2 ** 20,
    cpus: request.cpus,
    // A thread for each CPU, QEMU's 64 I/O workers, the launcher, and some.
    pids: 128 + request.cpus,
  };
}

/**
 * The document that the launcher reads; native/launcher/src/document.rs has its shape.
 * @param snapshot files to begin from, checked already
 * @param cgroup the group that the launcher joins
 */
export function launcherDocument(
  vm: VmContext,
  request: LaunchRequest,
  snapshot?: SnapshotFiles,
  cgroup: string | null = vm.place.cgroup,
): object {
  const { paths, record, place, tenant, config } = vm;
  const vmm = executable(vm, request);
  const blobs = request.files.map(({ blob, target }) => ({
    source: blobPath(config.imageStore, blob),
    target,
    readOnly: true,
  }));
  return {
    tag: request.lifetime,
    ...place,
    cgroup,
    // Control groups hold what a VMM could undo if it were its affinity alone.
    cpuset: null,
    vmm,
    argv: request.load?.argv ?? request.argv,
    binds: [...blobs, { source: paths.disk, target: jail.disk, readOnly: false }, ...snapshotBinds(request, snapshot)],
    ...(request.vmm === "qemu" && snapshot !== undefined
      ? { inputs: [{ fd: jail.loadFd, path: snapshot.state }] }
      : {}),
    devices: request.kvm ? ["/dev/kvm"] : [],
    ...(request.vmm === "qemu" ? { systemFolders: systemFolders(vmm) } : firecrackerJail(vm, request)),
    sockets: [
      { fd: jail.channelFd, path: paths.channelSocket(tenant), ...vm.channel, mode: 0o600 },
      { fd: jail.monitorFd, path: paths.monitorSocket(tenant), ...config.broker, mode: 0o600 },
    ],
    console: { path: paths.console(tenant), ...vm.channel, maxBytes: outputBytes.console },
    stderrLog: { path: paths.vmmLog, maxBytes: outputBytes.vmm },
    statusFile: paths.status,
    limits: {
      nofile: 1024,
      // The largest file that it may write is its disk, or its memory in a snapshot.
      fsizeBytes: Math.max(record.diskMib, request.memoryMib + stateMib) * 2 ** 20,
      core: 0,
      memlockBytes: 65_536,
      nproc: launchLimits(request).pids,
    },
  };
}

/** A path in the jail is Firecracker's way to a snapshot. */
function snapshotBinds({ vmm }: LaunchRequest, snapshot: SnapshotFiles | undefined): object[] {
  if (snapshot === undefined || vmm !== "firecracker") return [];
  return Object.entries(snapshot).map(([name, source]) => ({
    source,
    target: `${jail.snapshot}/${name}`,
    readOnly: true,
  }));
}

/** @throws NodeError `no-vmm` */
export function executable({ config }: VmContext, { vmm }: Pick<LaunchRequest, "vmm">): string {
  const path = config[vmm];
  if (path === undefined) throw new NodeError("no-vmm", "this host was started without Firecracker");
  return path;
}

/** A static program that finds everything by path; what it makes lies in a small file system in memory. */
function firecrackerJail({ paths }: VmContext, request: LaunchRequest) {
  return {
    systemFolders: [],
    workFolder: jail.work,
    mountPoints: [jail.snapshot],
    texts: [{ target: jail.config, content: request.config ?? "" }],
    relays: [
      { fd: jail.channelFd, path: `${jail.vsock}_${jail.channelPort}`, kind: "accept" },
      { fd: jail.monitorFd, path: jail.api, kind: "dial" },
    ],
    fifos: [
      { path: jail.log, log: { path: paths.firecrackerLog, maxBytes: outputBytes.vmm } },
      { path: jail.metrics, log: { path: paths.firecrackerMetrics, maxBytes: outputBytes.vmm } },
    ],
  };
}

/** Libraries and firmware, no program but the VMM itself: the launcher adds that one. */
function systemFolders(qemu: string): string[] {
  const prefix = dirname(dirname(qemu));
  const own = prefix === "/usr" ? [] : [prefix];
  return ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/qemu", "/usr/share/seabios", ...own];
}
