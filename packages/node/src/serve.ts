import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { type NodeConfig, nodeContract } from "@exai/api/host";
import { describeError, type Logger } from "@exai/base";
import { serveIpc } from "@exai/ipc";
import type { NodeAgent } from "./agent.ts";
import { Anchor } from "./anchor.ts";

const maxInFlight = 8192;
/** The broker has one for each tenant, and for a moment a new one beside it. */
const maxConnections = 8;

/** One socket for each tenant, in a folder that only the broker can enter: who gets there is the identity. */
export async function serveTenants(agent: NodeAgent, config: NodeConfig, logger: Logger): Promise<AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  for (const { tenant } of config.tenants) {
    const folder = join(config.runFolder, "node");
    mkdirSync(folder, { recursive: true, mode: 0o711 });
    // Made and given away in root's own folder, then moved: in the broker's folder a link could stand in its place.
    const staged = join(folder, `.${tenant}`);
    stack.use(
      await serveIpc({
        path: staged,
        contract: nodeContract,
        handlers: agent.handlers(tenant),
        owner: config.broker,
        // A waiting call for each running VM is the rule; a kill must not queue up behind them.
        maxInFlight,
        maxConnections,
        onError: (error) => logger.log("warn", "a connection broke", { tenant, error: describeError(error) }),
      }),
    );
    // What the broker put in its place in its own folder must not keep everybody's agent from starting.
    using own = Anchor.open(join(folder, tenant));
    own.remove("node.sock");
    renameSync(staged, join(folder, tenant, "node.sock"));
  }
  return stack;
}
