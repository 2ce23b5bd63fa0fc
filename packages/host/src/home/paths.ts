import { join } from "node:path";
import type { TenantId } from "@exai/base";

/** Where a stack keeps what must survive a reboot; docs/internals/host.md has the table. */
export function homePaths(home: string) {
  return {
    home,
    homeFile: join(home, "home.json"),
    hostAnchor: join(home, "anchors", "host.json"),
    tenantAnchors: join(home, "anchors", "tenants"),
    releases: join(home, "anchors", "releases"),
    host: join(home, "host"),
    hostKey: join(home, "host", "host.key"),
    journal: join(home, "host", "journal"),
    control: join(home, "control"),
    database: join(home, "control", "state.db"),
    vms: join(home, "vms"),
    vmm: join(home, "vmm"),
    spool: join(home, "spool"),
    clients: join(home, "client"),
    logs: join(home, "logs"),
    probe: join(home, "host-checks.json"),
  };
}
export type HomePaths = ReturnType<typeof homePaths>;

/** Where a stack keeps sockets and what a reboot may take. Short, since a socket's path has at most 107 bytes. */
export function runPaths(stack: string) {
  const run = join("/run/exai", stack);
  return {
    run,
    /** The program, bound here for processes whose user could not enter the checkout. */
    app: join(run, "app"),
    controlSocket: join(run, "api", "control.sock"),
    supervisorSocket: join(run, "supervisor.sock"),
    metricsSocket: join(run, "metrics.sock"),
    broker: join(run, "b"),
    brokerSocket: join(run, "b", "status.sock"),
    node: join(run, "node"),
    monitors: join(run, "m"),
    tenants: join(run, "t"),
    nodeSocket: (tenant: TenantId) => join(run, "node", tenant, "node.sock"),
    tenant: (tenant: TenantId) => join(run, "t", tenant),
    adminFolder: (tenant: TenantId) => join(run, "t", tenant, "admin"),
    adminSocket: (tenant: TenantId) => join(run, "t", tenant, "admin", "channel.sock"),
    monitor: (tenant: TenantId) => join(run, "m", tenant),
  };
}
export type RunPaths = ReturnType<typeof runPaths>;

/** Offsets in the stack's range of uids. */
export const uidOffsets = { control: 1, broker: 2, firstChannel: 100, firstVm: 1000, rangeSize: 65_536 } as const;
