import type { WorkspaceSpec } from "@exai/api";
import type { HostId } from "@exai/base";

export interface HostLoad {
  readonly host: HostId;
  readonly workspaces: number;
  /** MiB of all its workspaces that are not destroyed. */
  readonly memoryMib: number;
}

/** The contract bounds what one poll answers. */
export const mostWorkspacesPerHost = 10_000;

/**
 * Picks the host with the least memory promised, the lower id among equals. Whether it fits is the host's to say: it
 * alone knows its memory. Undefined when no host takes another workspace.
 */
export function schedule(hosts: readonly HostLoad[], _spec: WorkspaceSpec): HostId | undefined {
  const [best] = hosts
    .filter((each) => each.workspaces < mostWorkspacesPerHost)
    .toSorted((a, b) => a.memoryMib - b.memoryMib || (a.host < b.host ? -1 : 1));
  return best?.host;
}
