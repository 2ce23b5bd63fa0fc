import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { NodeConfig } from "@exai/api/host";
import { newLifetimeId, newWorkspaceId } from "@exai/base";
import { dialGuest, type LaunchPlan, type MachineSize, type NodeCalls, startMachine } from "@exai/machine";
import type { ContractDriver, Launched, MachineSpec } from "@exai/machine/contract";
import { HostFixture } from "../vm/host-fixture.ts";

const never = new AbortController().signal;

export interface MachineDriver extends ContractDriver {
  readonly host: HostFixture;
  launch(spec: MachineSpec): Promise<Launched & { monitorSocket: string; folder: string; uid: number }>;
}

/** Machines as the product runs them: node agent, launcher, jail, an own uid for each. */
export function machineDriver(options: {
  config: Partial<NodeConfig>;
  plan: (size: MachineSize) => LaunchPlan;
}): MachineDriver {
  const host = new HostFixture(options.config);
  const [tenant] = host.tenants;
  const calls = host.agent().handlers(tenant);
  const node: NodeCalls = {
    prepare: (request) => calls.prepare(request, never),
    launch: (request) => calls.launch(request, never),
    kill: (request) => calls.kill(request, never),
    awaitExit: (request) => calls.awaitExit(request, never),
    remove: (request) => calls.remove(request, never),
  };
  return {
    host,
    async launch({ diskMib, ...size }) {
      const workspace = newWorkspaceId();
      const lifetime = newLifetimeId();
      const machine = await startMachine({ node, workspace, lifetime, diskMib, plan: options.plan(size) });
      const { uid = 0 } = await node.awaitExit({ workspace, timeoutMs: 0 });
      const run = join(host.config.runFolder, "t", tenant, "vm", workspace);
      return {
        machine,
        uid,
        folder: join(host.config.vmsFolder, workspace),
        monitorSocket: join(host.config.runFolder, "m", tenant, `${workspace}.qmp`),
        dial: () => dialGuest(join(run, "guest.sock"), { hostname: workspace, timeoutMs: 60_000 }),
        console: async () => readFileSync(join(run, "console.log"), "utf8").replaceAll("\r", ""),
      };
    },
    leftovers: async () => host.leftovers(),
    [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
  };
}
