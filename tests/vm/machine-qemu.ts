import { readFileSync } from "node:fs";
import { join } from "node:path";
import { newLifetimeId, newWorkspaceId } from "@exai/base";
import {
  dialGuest,
  hostTscKhz,
  loadImage,
  type NodeCalls,
  planQemu,
  resolveImageName,
  startMachine,
} from "@exai/machine";
import type { ContractDriver, Launched, MachineSpec } from "@exai/machine/contract";
import { HostFixture } from "./host-fixture.ts";
import { imageStore, releaseKeys } from "./machine-images.ts";

const never = new AbortController().signal;

export interface QemuDriver extends ContractDriver {
  launch(spec: MachineSpec): Promise<Launched & { monitorSocket: string }>;
}

/** QEMU as the product runs it: node agent, launcher, jail, an own uid for each. */
export async function qemuDriver(name: string): Promise<QemuDriver> {
  const image = await loadImage(imageStore, await resolveImageName(imageStore, name), releaseKeys());
  const host = new HostFixture({ imageStore });
  const tscKhz = await hostTscKhz({ memoryFile: join(host.root, "tsc") });
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
    async launch({ cpus, memoryMib, diskMib }) {
      const workspace = newWorkspaceId();
      const plan = planQemu(image, { cpus, memoryMib }, { kind: "tcg", tscKhz });
      const machine = await startMachine({ node, workspace, lifetime: newLifetimeId(), diskMib, plan });
      const folder = join(host.config.runFolder, "t", tenant, "vm", workspace);
      return {
        machine,
        monitorSocket: join(host.config.runFolder, "m", tenant, `${workspace}.qmp`),
        dial: () => dialGuest(join(folder, "guest.sock"), { hostname: workspace, timeoutMs: 60_000 }),
        console: async () => readFileSync(join(folder, "console.log"), "utf8").replaceAll("\r", ""),
      };
    },
    leftovers: async () => host.leftovers(),
    [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
  };
}
