import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { nodeContract, type TenantAnchor } from "@exai/api/host";
import { createLogger, invariant, newLifetimeId, newTenantId, newWorkspaceId } from "@exai/base";
import { createIpcClient } from "@exai/ipc";
import { type BootFiles, planFirecracker } from "@exai/machine";
import { removeAll } from "../commands/sweep.ts";
import { type EnrolledTenant, enrolledTenants, enrolTenant } from "../enrol/tenants.ts";
import { type Home, openHome, prepareHome } from "../home/home.ts";
import { lockHome } from "../home/lock.ts";
import { runPaths } from "../home/paths.ts";
import { removeHome } from "../home/remove-home.ts";
import { releaseUidRange } from "../home/uid-range.ts";
import { SupervisedChild } from "../supervisor/child.ts";
import { type NodeOptions, nodePlan } from "../supervisor/plans.ts";
import { makeRunFolders, removeRunFolders } from "../supervisor/run-folder.ts";

interface VmmProbeOptions extends Omit<NodeOptions, "home" | "tenants"> {
  boot: BootFiles;
}

/** In memory, and always the same: what a probe that was killed left there, the next one removes. */
const place = "/run/exai-probe";
const patienceMs = 60_000;

/**
 * One microVM as a stack starts it – node agent, launcher, jail, cgroup, uid of its own – for as long as somebody looks
 * at it, in a small home of its own. Nothing of it stays.
 */
export async function withProbeVmm<T>(options: VmmProbeOptions, look: (uid: number) => Promise<T>): Promise<T> {
  const { home: folder } = prepareHome(place);
  using _lock = await lockHome(folder, patienceMs);
  const home = openHome(folder, Date.now());
  const tenant = enrolledTenants(home)[0] ?? enrolTenant(home, nobody());
  const logger = createLogger({ process: "probe", write: () => undefined });
  const remove = () => removeAll(home, tenant, logger, patienceMs);
  makeRunFolders(home, [tenant]);
  try {
    await using _agent = new SupervisedChild(nodePlan({ ...options, home, tenants: [tenant] }), logger);
    await remove();
    try {
      return await look(await launch(home, tenant, options.boot));
    } finally {
      await remove();
    }
  } finally {
    // With a microVM that could not be removed its uids stay taken: folders of VMs are the node agent's to remove.
    if (isEmpty(home)) {
      removeRunFolders(home);
      releaseUidRange(folder);
      removeHome(folder);
    }
  }
}

async function launch(home: Home, { anchor }: EnrolledTenant, boot: BootFiles): Promise<number> {
  using node = createIpcClient(runPaths(home.stack).nodeSocket(anchor.tenant), nodeContract);
  const workspace = newWorkspaceId();
  await node.call("prepare", { workspace, diskMib: 64 }, { timeoutMs: patienceMs });
  const plan = planFirecracker(boot, { cpus: 1, memoryMib: 128 });
  const { uid } = await node.call(
    "launch",
    { workspace, lifetime: newLifetimeId(), ...plan },
    { timeoutMs: patienceMs },
  );
  invariant(uid !== undefined, "a microVM that was launched has a uid");
  return uid;
}

/** Whose microVM it is, to the node agent; nobody has its private keys. */
const nobody = (): TenantAnchor => {
  const key = () => randomBytes(32).toString("base64url");
  return { tenant: newTenantId(), name: "probe", signingKey: key(), logKey: key() };
};

const isEmpty = ({ paths }: Home): boolean => readdirSync(paths.vms).length === 0;
