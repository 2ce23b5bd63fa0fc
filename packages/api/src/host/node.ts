import { z } from "zod";
import { lifetimeId, sha256Hex, workspaceId } from "../ids.ts";
import { limits } from "../limits.ts";
import { deviceReports } from "./device-report.ts";
import { snapshotRecord, snapshotRef } from "./snapshot.ts";

/**
 * What the root node agent does, and nothing else. The tenant is the socket that the call came in by, never a field.
 * Every step may be repeated: a second call of the same step answers as the first did.
 */

const guestFile = z.strictObject({
  /** Digest of a blob in the host's image store; the agent opens it by digest, so no path comes from outside. */
  blob: sha256Hex,
  /** Where the VMM sees it inside its jail; the file is bound read-only. */
  target: z.string().regex(/^\/vm\/[a-z0-9-]{1,32}$/),
});

export const prepareRequest = z.strictObject({
  workspace: workspaceId,
  diskMib: z.int().min(limits.diskMib.min).max(limits.diskMib.max),
});

export const launchRequest = z.strictObject({
  workspace: workspaceId,
  lifetime: lifetimeId,
  vmm: z.enum(["qemu", "firecracker"]),
  /** The VMM's arguments. Not trusted: the jail bounds what they can do (own uid, namespaces, only the files below). */
  argv: z.array(z.string().max(4096)).max(200),
  files: z.array(guestFile).max(8),
  /** For a VMM that reads its configuration from a file: what `jail.config` holds. Trusted as little as `argv`. */
  config: z.string().max(65_536).optional(),
  /** Give /dev/kvm to the jail. */
  kvm: z.boolean(),
  cpus: z.int().min(limits.cpus.min).max(limits.cpus.max),
  /** Guest memory; the cgroup's limit adds the VMM's own overhead. */
  memoryMib: z.int().min(limits.memoryMib.min).max(limits.memoryMib.max),
  /** Begin from a snapshot of this tenant's, with these arguments; those above must be what it was booted with. */
  load: snapshotRef.extend({ argv: z.array(z.string().max(4096)).max(200) }).optional(),
});
export type LaunchRequest = z.infer<typeof launchRequest>;

/** Fixed names inside the jail, and descriptors that the launcher passes to the VMM. */
export const jail = {
  /** The writable disk. */
  disk: "/vm/overlay",
  /** A listening UNIX socket for the guest's channel; the tenant's channel process owns its path. */
  channelFd: 10,
  /** A listening UNIX socket for the VMM's control protocol (QMP); the broker owns its path. */
  monitorFd: 11,
  /** For Firecracker, which makes and finds its sockets by path: the launcher joins the two above with these. */
  config: "/vm/config",
  work: "/run",
  api: "/run/api.sock",
  vsock: "/run/v.sock",
  log: "/run/log",
  metrics: "/run/metrics",
  /** Where a VMM finds and puts a snapshot: files of a volume that is bound in when there is one. */
  snapshot: "/snap",
  /** For QEMU, which takes no path: the state to begin with, to read from. */
  loadFd: 12,
  /** Port of the host that the guest's agent dials. */
  channelPort: 1024,
} as const;

export const vmStatus = z.strictObject({
  workspace: workspaceId,
  lifetime: lifetimeId.optional(),
  /** `absent`: nothing exists. `prepared`: disk and namespaces exist, no VMM. `exited`: the last VMM has ended. */
  state: z.enum(["absent", "prepared", "running", "exited"]),
  /** Exit of the last VMM. */
  exit: z.strictObject({ code: z.int().optional(), signal: z.int().optional() }).optional(),
  uid: z.int().optional(),
  pid: z.int().optional(),
  /** What its volumes may take of the host's memory. */
  volumesMib: z.int().min(1).optional(),
  notEnforced: z.array(z.string().max(100)).max(16),
});
export type VmStatus = z.infer<typeof vmStatus>;

export const floorState = z.discriminatedUnion("enforced", [
  /** `about`: how the host's cores are divided, one sentence. */
  z.strictObject({ enforced: z.literal(true), cores: z.int().min(0), about: z.string().max(1000) }),
  z.strictObject({ enforced: z.literal(false), why: z.string().max(1000) }),
]);
export type FloorState = z.infer<typeof floorState>;

const one = z.strictObject({ workspace: workspaceId });
const none = z.strictObject({});

export const nodeContract = {
  /** Makes uid, namespace, cgroup, folder and disk. Codes: `disk-full`, `uids-exhausted`, `disk-size`, `name-taken`. */
  prepare: { request: prepareRequest, response: vmStatus },
  /**
   * Starts the VMM. Codes: `not-prepared`, `running`, `no-blob`, `no-vmm`, `no-core`, `launch-failed`; with `load` also
   * `no-snapshot`, `snapshot-mismatch` (made by something else), `snapshot-broken` (not what was saved).
   */
  launch: { request: launchRequest, response: vmStatus },
  /** SIGKILL, then waits for the end. Nothing happens when it does not run. */
  kill: { request: one, response: vmStatus },
  /** Answers when the VMM of this workspace does not run (any more), or after `timeoutMs` with the state then. */
  awaitExit: {
    request: z.strictObject({ workspace: workspaceId, timeoutMs: z.int().min(0).max(60_000) }),
    response: vmStatus,
  },
  /**
   * Gives the running VMM a volume to save its state to, at `jail.snapshot`, or as the descriptor `snapshot` of its
   * monitor. Codes: `not-running`, `no-memory`, `volume-failed`.
   */
  attachVolume: {
    request: z.strictObject({
      workspace: workspaceId,
      sizeMib: z
        .int()
        .min(1)
        .max(limits.memoryMib.max + 1024),
    }),
    response: snapshotRef,
  },
  /** After the VMM's end: takes its files away from it and hashes them. Codes: `running`, `no-snapshot`. */
  sealSnapshot: { request: snapshotRef, response: snapshotRecord },
  /** Removes a volume, sealed or not; nothing happens when there is none. */
  dropVolume: { request: snapshotRef, response: none },
  /** Kills and removes everything of the workspace: disk, folder, namespace, cgroup, uid. */
  remove: { request: one, response: none },
  /** Whether each virtual CPU has a core of its own here, and how many cores there are for them, taken ones among them. */
  floor: { request: none, response: floorState },
  /** What the tenant's VMMs last wrote of their devices, where there is something to look at. */
  devices: { request: none, response: deviceReports },
  /** Every microVM of the tenant's. Code: `broken-state`, when this host holds one and can't say whose it is. */
  list: { request: none, response: z.strictObject({ vms: z.array(vmStatus).max(10_000) }) },
} as const;
