import { dirname } from "node:path";
import type { FloorState } from "@exai/api/host";
import type { WorkspaceId } from "@exai/base";
import { CorePool } from "./floor/pool.ts";
import type { ReadText } from "./floor/topology.ts";
import { kernelTree } from "./floor/tree.ts";
import type { CpuShare } from "./floor/vm-groups.ts";

/** Where a VM runs: what the launcher joins and never makes. */
export interface Placement {
  /** Folder of a cgroup v2; null on a host without one. */
  readonly cgroup: string | null;
  /** File of a network namespace. */
  readonly netns: string;
  readonly uid: number;
  readonly gid: number;
}

export interface Placer {
  place(workspace: WorkspaceId): Placement;
  /** Whether a virtual CPU has a core of its own here. */
  floor(): FloorState;
  /** The same in short, for each look at a microVM. */
  readonly floorHolds: boolean;
  /**
   * CPUs for one microVM. They count as taken as soon as its control groups are made, which the caller does at once.
   * @throws NodeError `no-core`
   */
  claimCpus(cpus: number): CpuShare;
  /** Called when the control groups of a microVM that has ended are gone. */
  releaseCpus(): void;
}

interface LocalPlacerOptions {
  /** 8 characters. */
  readonly stack: string;
  /** Folder of this stack's cgroups; null on a host without cgroup v2. */
  readonly cgroups: string | null;
  ownerOf(workspace: WorkspaceId): { uid: number; gid: number };
  /** For sysfs; the kernel's own. */
  readonly read?: ReadText;
}

/** Names have the first 8 characters only: an interface's name, which will follow this pattern, has at most 15. */
export const shortName = (workspace: WorkspaceId): string => workspace.slice(0, 8);

/** One machine that is ours alone. In a pod, the kubelet and a placer of that kind decide instead. */
export class LocalPlacer implements Placer {
  readonly #o: LocalPlacerOptions;
  readonly #pool: CorePool;

  constructor(options: LocalPlacerOptions) {
    this.#o = options;
    const { cgroups, read = kernelTree.read } = options;
    const mount = cgroups === null ? null : dirname(cgroups);
    this.#pool = new CorePool({ mount, folder: cgroups ?? "", tree: kernelTree, read });
  }

  place(workspace: WorkspaceId): Placement {
    const { stack, cgroups } = this.#o;
    const { uid, gid } = this.#o.ownerOf(workspace);
    return {
      cgroup: cgroups === null ? null : `${cgroups}/${workspace}`,
      netns: `/run/netns/exai-${stack}-${shortName(workspace)}`,
      uid,
      gid,
    };
  }

  floor(): FloorState {
    return this.#pool.state();
  }

  get floorHolds(): boolean {
    return this.#pool.holds;
  }

  claimCpus(cpus: number): CpuShare {
    return this.#pool.claim(cpus);
  }

  releaseCpus(): void {
    this.#pool.settle();
  }
}
