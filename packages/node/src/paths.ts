import { join } from "node:path";
import type { NodeConfig } from "@exai/api/host";
import type { TenantId, WorkspaceId } from "@exai/base";

/** Files of one VM; docs/internals/host.md has the table. */
export function vmPaths(config: Pick<NodeConfig, "vmsFolder" | "runFolder">, workspace: WorkspaceId) {
  const folder = join(config.vmsFolder, workspace);
  return {
    folder,
    tenant: join(folder, "tenant.json"),
    disk: join(folder, "overlay.ext4"),
    /** Mount points and records of volumes; root's, 0700. */
    volumes: join(folder, "volumes"),
    launch: join(folder, "launch.json"),
    status: join(folder, "status.json"),
    vmmLog: join(folder, "vmm.log"),
    firecrackerLog: join(folder, "firecracker.log"),
    firecrackerMetrics: join(folder, "metrics.json"),
    /** Parents of what others own. */
    channelFolder: (tenant: TenantId) => join(config.runFolder, "t", tenant, "vm"),
    monitorFolder: (tenant: TenantId) => join(config.runFolder, "m", tenant),
    channelSocket: (tenant: TenantId) => join(config.runFolder, "t", tenant, "vm", workspace, "guest.sock"),
    console: (tenant: TenantId) => join(config.runFolder, "t", tenant, "vm", workspace, "console.log"),
    monitorSocket: (tenant: TenantId) => join(config.runFolder, "m", tenant, `${workspace}.qmp`),
  };
}
export type VmPaths = ReturnType<typeof vmPaths>;
