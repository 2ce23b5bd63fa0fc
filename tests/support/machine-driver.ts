import { execFileSync } from "node:child_process";
import { chownSync, copyFileSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { NodeConfig, SnapshotRef } from "@exai/api/host";
import { newLifetimeId, newWorkspaceId, type WorkspaceId } from "@exai/base";
import {
  connectMonitor,
  dialGuest,
  type LaunchPlan,
  type MachineSize,
  type NodeCalls,
  startMachine,
} from "@exai/machine";
import type { ContractDriver, Launched, MachineSpec } from "@exai/machine/contract";
import { ifThere } from "../../packages/node/src/files.ts";
import { HostFixture, stepsOf } from "../vm/host-fixture.ts";

export interface MachineDriver extends ContractDriver {
  readonly host: HostFixture;
  readonly node: NodeCalls;
  readonly plan: (size: MachineSize) => LaunchPlan;
  /** @param plan instead of the driver's own, for this one */
  launch(
    spec: MachineSpec,
    plan?: LaunchPlan,
  ): Promise<Launched & { workspace: WorkspaceId; monitorSocket: string; folder: string; uid: number }>;
}

/** Machines as the product runs them: node agent, launcher, jail, an own uid for each. */
export function machineDriver(options: {
  config: Partial<NodeConfig>;
  plan: (size: MachineSize) => LaunchPlan;
}): MachineDriver {
  const host = new HostFixture(options.config);
  const [tenant] = host.tenants;
  const node = stepsOf(host.agent(), tenant);
  const folderOf = (workspace: WorkspaceId): string => join(host.config.vmsFolder, workspace);
  const start = async ({ diskMib, ...size }: MachineSpec, load?: SnapshotRef, plan = options.plan(size)) => {
    const workspace = newWorkspaceId();
    const lifetime = newLifetimeId();
    const run = join(host.config.runFolder, "t", tenant, "vm", workspace);
    const monitorSocket = join(host.config.runFolder, "m", tenant, `${workspace}.qmp`);
    const monitor = () => connectMonitor(plan.vmm, monitorSocket);
    if (load !== undefined) {
      const { uid = 0 } = await node.prepare({ workspace, diskMib });
      const disk = join(folderOf(workspace), "overlay.ext4");
      copyFileSync(join(folderOf(load.workspace), "overlay.ext4"), disk);
      chownSync(disk, uid, uid);
    }
    const from = load === undefined ? {} : { load };
    const machine = await startMachine({ node, workspace, lifetime, diskMib, plan, monitor, ...from });
    const { uid = 0 } = await node.awaitExit({ workspace, timeoutMs: 0 });
    const read = (path: string) => readFileSync(path, "utf8").replaceAll("\r", "");
    const console = join(run, "console.log");
    /** What there is to see of a guest that does not answer, before it is removed. */
    const tell = (error: unknown): never => {
      const seen = [console, join(folderOf(workspace), "vmm.log"), join(folderOf(workspace), "status.json")];
      for (const path of seen) {
        process.stderr.write(`${path} ends with:\n${ifThere(() => read(path))?.slice(-2000) ?? "it is not there"}\n`);
      }
      throw error;
    };
    return {
      machine,
      workspace,
      monitor,
      uid,
      folder: folderOf(workspace),
      monitorSocket,
      dial: () => dialGuest(join(run, "guest.sock"), { hostname: workspace, timeoutMs: 60_000 }).catch(tell),
      console: async () => read(console),
    };
  };
  return {
    host,
    node,
    plan: options.plan,
    launch: (spec, plan) => start(spec, undefined, plan),
    load: (spec, from) => start(spec, from),
    attach: ({ workspace }, sizeMib) => node.attachVolume({ workspace, sizeMib }),
    drop: (ref) => node.dropVolume(ref),
    saved(ref) {
      const at = join(folderOf(ref.workspace), "volumes", ref.lifetime);
      const data = join(at, "data");
      return {
        ref,
        files: readdirSync(data).map((name) => join(data, name)),
        record: `${at}.json`,
        unseal: () => void execFileSync("mount", ["-o", "remount,rw", at]),
      };
    },
    leftovers: async () => host.leftovers(),
    [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
  };
}
