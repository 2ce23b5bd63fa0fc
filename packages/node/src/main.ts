/** The root agent of a host. Configuration comes on standard input's first line; the input's end ends the agent. */
import { rmdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { nodeConfig } from "@exai/api/host";
import { createLogger } from "@exai/base";
import { NodeAgent } from "./agent.ts";
import { cgroup2Mount } from "./cgroup.ts";
import { useSpawner } from "./exec.ts";
import { LocalPlacer } from "./placer.ts";
import { serveTenants } from "./serve.ts";

const lines = createInterface({ input: process.stdin });
// VMs go on without an agent; an agent without a supervisor would meet the next one.
lines.once("close", leave);
process.once("SIGTERM", leave);
let cgroups: string | null = null;
const line = await new Promise<string>((resolve) => lines.once("line", resolve));
const config = nodeConfig.parse(JSON.parse(line));
const logger = createLogger({ process: "node", write: (text) => void process.stderr.write(text) });
const mount = cgroup2Mount();
cgroups = mount === undefined ? null : join(mount, `exai-${config.stack}`);
useSpawner(config.launcher);
const agent = new NodeAgent({
  config,
  logger,
  placer: (vms) => new LocalPlacer({ stack: config.stack, cgroups, ownerOf: (workspace) => vms.ownerOf(workspace) }),
});
agent.adopt();
await serveTenants(agent, config, logger);
const floor = agent.floor();
logger.log("info", "serving", {
  tenants: config.tenants.length,
  cgroups: cgroups ?? "none",
  floor: floor.enforced ? floor.about : `not enforced: ${floor.why}`,
});

/** The stack's cgroup goes with its last VM's; while one is there, it can't be removed. */
function leave(): never {
  try {
    if (cgroups !== null) rmdirSync(cgroups);
  } catch {
    // VMs are in it, or it was never made
  }
  process.exit(0);
}
