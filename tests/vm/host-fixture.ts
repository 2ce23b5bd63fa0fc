import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { NodeConfig } from "@exai/api/host";
import { createLogger, newLifetimeId, newTenantId, newWorkspaceId, type TenantId, type WorkspaceId } from "@exai/base";
import type { NodeCalls } from "@exai/machine";
import { LocalPlacer, NodeAgent, type NodeAgentOptions } from "@exai/node";
import { cgroup2Mount } from "../../packages/node/src/cgroup.ts";

export const launcher =
  process.env["EXAI_LAUNCHER"] ??
  resolve(import.meta.dirname, "../../native/target/x86_64-unknown-linux-musl/release/exai-launcher");
export const qemu = "/usr/bin/qemu-system-x86_64";

/** A paused machine with what every VM has: the monitor on its descriptor, the disk, a console. It needs no kernel. */
export const pausedMachine = [
  ...["-M", "microvm", "-accel", "tcg,tb-size=16", "-m", "96", "-nodefaults", "-no-user-config", "-display", "none"],
  ...["-S", "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
  ...["-chardev", "socket,id=mon,fd=11,server=on,wait=off", "-mon", "chardev=mon,mode=control"],
  ...["-drive", "id=o,if=none,format=raw,file=/vm/overlay", "-device", "virtio-blk-device,drive=o"],
  ...["-serial", "stdio"],
];

/** A launch of it. */
export const pausedLaunch = (workspace: WorkspaceId) => ({
  workspace,
  lifetime: newLifetimeId(),
  vmm: "qemu" as const,
  argv: pausedMachine,
  files: [],
  kvm: false,
  cpus: 1,
  memoryMib: 128,
});

const never = new AbortController().signal;

/** The steps of an agent in this process, as a client of its socket has them. */
export function stepsOf(agent: NodeAgent, tenant: TenantId): NodeCalls {
  const calls = agent.handlers(tenant);
  return {
    prepare: (request) => calls.prepare(request, never),
    launch: (request) => calls.launch(request, never),
    kill: (request) => calls.kill(request, never),
    awaitExit: (request) => calls.awaitExit(request, never),
    attachVolume: (request) => calls.attachVolume(request, never),
    sealSnapshot: (request) => calls.sealSnapshot(request, never),
    dropVolume: (request) => calls.dropVolume(request, never),
    remove: (request) => calls.remove(request, never),
  };
}

/** Uids of this test's own, far from those of stacks. */
const firstUid = 3_000_000_000 + Math.floor(Math.random() * 1000) * 1000;

/** Folders and a configuration as the supervisor makes them, for two tenants. */
export class HostFixture implements AsyncDisposable {
  readonly root = mkdtempSync(join(tmpdir(), "exai-node-"));
  readonly tenants: readonly [TenantId, TenantId] = [newTenantId(), newTenantId()];
  readonly config: NodeConfig;
  readonly mount = cgroup2Mount();

  constructor(change: Partial<NodeConfig> = {}) {
    chmodSync(this.root, 0o711);
    const own = (id: number) => ({ uid: firstUid + id, gid: firstUid + id });
    this.config = {
      vmsFolder: join(this.root, "vms"),
      runFolder: join(this.root, "run"),
      imageStore: join(this.root, "images"),
      launcher,
      qemu,
      vmUids: { first: firstUid + 100, count: 50 },
      broker: own(2),
      tenants: this.tenants.map((tenant, at) => ({ tenant, channel: own(10 + at) })),
      stack: newWorkspaceId().slice(0, 8),
      ...change,
    };
    mkdirSync(join(this.config.imageStore, "blobs", "sha256"), { recursive: true });
    const { runFolder, broker } = this.config;
    for (const folder of ["t", "m", "node"]) mkdirSync(join(runFolder, folder), { recursive: true, mode: 0o711 });
    for (const { tenant, channel } of this.config.tenants) {
      mkdirSync(join(runFolder, "t", tenant), { mode: 0o711 });
      this.#folder(join(runFolder, "t", tenant, "vm"), 0o700, channel);
      this.#folder(join(runFolder, "m", tenant), 0o700, broker);
      this.#folder(join(runFolder, "node", tenant), 0o700, broker);
    }
  }

  #folder(path: string, mode: number, owner: { uid: number; gid: number }): void {
    mkdirSync(path, { mode });
    chownSync(path, owner.uid, owner.gid);
  }

  get cgroups(): string | null {
    return this.mount === undefined ? null : join(this.mount, `exai-${this.config.stack}`);
  }

  agent(afterStep?: NodeAgentOptions["afterStep"]): NodeAgent {
    const { config, cgroups } = this;
    const agent = new NodeAgent({
      config,
      logger: createLogger({ process: "node", write: () => undefined }),
      placer: (vms) => new LocalPlacer({ stack: config.stack, cgroups, ownerOf: (ws) => vms.ownerOf(ws) }),
      ...(afterStep === undefined ? {} : { afterStep }),
    });
    agent.adopt();
    return agent;
  }

  /** What is left on this machine of this stack: nothing, after every VM was removed. */
  leftovers(): string[] {
    const named = `exai-${this.config.stack}`;
    const netns = existsSync("/run/netns") ? readdirSync("/run/netns").filter((name) => name.startsWith(named)) : [];
    const vms = existsSync(this.config.vmsFolder) ? readdirSync(this.config.vmsFolder) : [];
    const groups = this.cgroups !== null && existsSync(this.cgroups) ? foldersOf(this.cgroups) : [];
    const runs = this.tenants.flatMap((tenant) => [
      ...readdirSync(join(this.config.runFolder, "t", tenant, "vm")),
      ...readdirSync(join(this.config.runFolder, "m", tenant)),
    ]);
    return [...netns, ...vms, ...groups, ...runs];
  }

  /** After a test that failed, too: nothing stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    const agent = this.agent();
    for (const calls of this.tenants.map((tenant) => agent.handlers(tenant))) {
      const { vms } = await calls.list({}, never);
      for (const { workspace } of vms) await calls.remove({ workspace }, never);
    }
    if (this.cgroups !== null && existsSync(this.cgroups)) rmdirSync(this.cgroups);
    rmSync(this.root, { recursive: true, force: true });
  }
}

const foldersOf = (path: string): string[] =>
  readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
