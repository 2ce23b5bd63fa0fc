import { existsSync } from "node:fs";
import { nodeContract } from "@exai/api/host";
import { createLogger, type Logger } from "@exai/base";
import { createIpcClient } from "@exai/ipc";
import { type EnrolledTenant, enrolledTenants } from "../enrol/tenants.ts";
import { type Home, openHome } from "../home/home.ts";
import { runPaths } from "../home/paths.ts";
import { SupervisedChild } from "../supervisor/child.ts";
import { launcherPath } from "../supervisor/launcher-path.ts";
import { nodePlan } from "../supervisor/plans.ts";
import { reapServices } from "../supervisor/reap.ts";
import { makeRunFolders, removeRunFolders } from "../supervisor/run-folder.ts";

/**
 * Removes every microVM of a home whose stack is down, with its disk, namespaces and cgroups. The node agent does it,
 * as it always does: there is one piece of code that removes a VM.
 */
export async function sweep(path: string): Promise<void> {
  const home = openHome(path, Date.now());
  if (existsSync(home.paths.hostAnchor)) await removeVms(home);
  // Before its uids may become somebody else's.
  await reapServices(launcherPath(), home.uidBase);
  removeRunFolders(home);
}

async function removeVms(home: Home): Promise<void> {
  const tenants = enrolledTenants(home);
  makeRunFolders(home, tenants);
  const logger = createLogger({ process: "sweep", write: (line) => void process.stderr.write(line) });
  const plan = nodePlan({
    home,
    tenants,
    imageStore: home.paths.home,
    launcher: launcherPath(),
    qemu: "/usr/bin/qemu-system-x86_64",
  });
  await using _agent = new SupervisedChild(plan, logger);
  for (const tenant of tenants) await removeAll(home, tenant, logger);
}

/** Every microVM of a tenant, by a node agent that was just started. */
export async function removeAll(
  home: Home,
  { anchor }: EnrolledTenant,
  logger: Logger,
  patienceMs = 5_000,
): Promise<void> {
  using node = createIpcClient(runPaths(home.stack).nodeSocket(anchor.tenant), nodeContract);
  const attempts = patienceMs / 50;
  for (let attempt = 0; ; attempt++) {
    try {
      const { vms } = await node.call("list", {});
      for (const vm of vms) await node.call("remove", { workspace: vm.workspace }, { timeoutMs: 60_000 });
      return;
    } catch (error) {
      if (attempt >= attempts) throw error; // the agent needs a moment to start; all of that is none
      if (attempt === 50) logger.log("warn", "the node agent is slow to start");
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}
