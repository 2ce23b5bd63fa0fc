import type { NodeConfig } from "@exai/api/host";
import { describeError, type Logger, type TenantId, type WorkspaceId } from "@exai/base";
import { NodeError } from "./errors.ts";
import { type VmPaths, vmPaths } from "./paths.ts";
import type { Placement, Placer } from "./placer.ts";
import type { TenantRecord } from "./records.ts";
import type { Vms } from "./vms.ts";

/** What every step of one workspace works on. */
export interface VmContext {
  readonly config: NodeConfig;
  readonly tenant: TenantId;
  readonly workspace: WorkspaceId;
  readonly paths: VmPaths;
  readonly record: TenantRecord;
  readonly place: Placement;
  readonly placer: Placer;
  readonly channel: { readonly uid: number; readonly gid: number };
  /** After each step; tests make it throw, as if the agent had been killed there. */
  afterStep(step: string): void;
  /** For the operator's log. */
  warn(message: string, error: unknown): void;
}

export interface NodeAgentOptions {
  readonly config: NodeConfig;
  readonly placer: (vms: Vms) => Placer;
  readonly logger: Logger;
  readonly afterStep?: (step: string) => void;
}

export function vmContext(
  options: NodeAgentOptions,
  placer: Placer,
  workspace: WorkspaceId,
  record: TenantRecord,
): VmContext {
  const { config } = options;
  const entry = config.tenants.find((each) => each.tenant === record.tenant);
  if (entry === undefined) throw new NodeError("not-prepared", "the workspace's tenant is not enrolled on this host");
  return {
    config,
    tenant: record.tenant,
    workspace,
    record,
    paths: vmPaths(config, workspace),
    place: placer.place(workspace),
    placer,
    channel: entry.channel,
    afterStep: options.afterStep ?? (() => undefined),
    warn: (message, error) => options.logger.log("warn", message, { workspace, error: describeError(error) }),
  };
}
