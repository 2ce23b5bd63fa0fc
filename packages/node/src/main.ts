/** The root agent of a host. Configuration comes on standard input's first line; the input's end ends the agent. */
import { join } from "node:path";
import { createInterface } from "node:readline";
import { nodeConfig } from "@exai/api/host";
import { createLogger } from "@exai/base";
import { NodeAgent } from "./agent.ts";
import { cgroup2Mount } from "./cgroup.ts";
import { LocalPlacer } from "./placer.ts";
import { serveTenants } from "./serve.ts";

const lines = createInterface({ input: process.stdin });
// VMs go on without an agent; an agent without a supervisor would meet the next one.
lines.once("close", () => process.exit(0));
const line = await new Promise<string>((resolve) => lines.once("line", resolve));
const config = nodeConfig.parse(JSON.parse(line));
const logger = createLogger({ process: "node", write: (text) => void process.stderr.write(text) });
const mount = cgroup2Mount();
const cgroups = mount === undefined ? null : join(mount, `exai-${config.stack}`);
const agent = new NodeAgent({
  config,
  logger,
  placer: (vms) => new LocalPlacer({ stack: config.stack, cgroups, ownerOf: (workspace) => vms.ownerOf(workspace) }),
});
agent.adopt();
await serveTenants(agent, config, logger);
logger.log("info", "serving", { tenants: config.tenants.length, cgroups: cgroups ?? "none" });
