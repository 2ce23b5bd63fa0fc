import { formatCpuList, parseCpuList } from "./cpu-list.ts";
import type { CgroupTree } from "./tree.ts";

/** A group as a partition: while it is one, the kernel keeps all processes outside it off its CPUs. */
export class Partition {
  readonly #tree: CgroupTree;
  readonly #folder: string;

  constructor(tree: CgroupTree, folder: string) {
    this.#tree = tree;
    this.#folder = folder;
  }

  /** What the kernel calls it: `root`, `member`, or `root invalid (…)`; nothing where there are none. */
  get is(): string {
    return this.#tree.read(`${this.#folder}/cpuset.cpus.partition`) ?? "";
  }

  get isWhole(): boolean {
    return this.is === "root";
  }

  /** Those that are online. */
  get cpus(): number[] {
    return this.isWhole ? parseCpuList(this.#tree.read(`${this.#folder}/cpuset.cpus.effective`) ?? "") : [];
  }

  get isPopulated(): boolean {
    return isPopulated(this.#tree, this.#folder);
  }

  /** @returns whether the kernel holds it */
  set(cpus: readonly number[]): boolean {
    this.#tree.write(`${this.#folder}/cpuset.cpus`, formatCpuList(cpus));
    // Also when it was one: a partition that became invalid is not looked at again by itself.
    this.#tree.write(`${this.#folder}/cpuset.cpus.partition`, "root");
    return this.isWhole;
  }

  /** Nothing may run in it: the kernel empties no set of a group that has processes. */
  dissolve(): void {
    this.#tree.write(`${this.#folder}/cpuset.cpus.partition`, "member");
    this.#tree.write(`${this.#folder}/cpuset.cpus`, "");
  }
}

export const isPopulated = (tree: CgroupTree, folder: string): boolean =>
  tree.read(`${folder}/cgroup.events`)?.includes("populated 1") === true;

export const broken = (found: string): string => `the kernel does not make the cores a partition: '${found}'`;

/** Why the kernel refuses a partition of these CPUs; undefined when it does not. Tried in a group that is gone afterwards. */
export function whyNoPartition(tree: CgroupTree, group: string, cpus: readonly number[]): string | undefined {
  tree.make(group);
  try {
    const trial = new Partition(tree, group);
    if (trial.is === "") return "this kernel has no partitions of CPUs";
    return trial.set(cpus) ? undefined : broken(trial.is);
  } finally {
    tree.remove(group);
  }
}
