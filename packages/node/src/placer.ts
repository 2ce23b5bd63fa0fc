import type { WorkspaceId } from "@exai/base";

/** Where a VM runs: what the launcher joins and never makes. */
export interface Placement {
  /** Folder of a cgroup v2; null on a host without one. */
  readonly cgroup: string | null;
  /** File of a network namespace. */
  readonly netns: string;
  /** CPUs that it may use; null for all. */
  readonly cpuset: readonly number[] | null;
  readonly uid: number;
  readonly gid: number;
}

export interface Placer {
  place(workspace: WorkspaceId): Placement;
}

interface LocalPlacerOptions {
  /** 8 characters. */
  readonly stack: string;
  /** Folder of this stack's cgroups; null on a host without cgroup v2. */
  readonly cgroups: string | null;
  ownerOf(workspace: WorkspaceId): { uid: number; gid: number };
}

/** Names have the first 8 characters only: an interface's name, which will follow this pattern, has at most 15. */
export const shortName = (workspace: WorkspaceId): string => workspace.slice(0, 8);

/** One machine that is ours alone. In a pod, the kubelet and a placer of that kind decide instead. */
export class LocalPlacer implements Placer {
  readonly #o: LocalPlacerOptions;

  constructor(options: LocalPlacerOptions) {
    this.#o = options;
  }

  place(workspace: WorkspaceId): Placement {
    const { stack, cgroups } = this.#o;
    const { uid, gid } = this.#o.ownerOf(workspace);
    return {
      cgroup: cgroups === null ? null : `${cgroups}/${workspace}`,
      netns: `/run/netns/exai-${stack}-${shortName(workspace)}`,
      cpuset: null,
      uid,
      gid,
    };
  }
}
