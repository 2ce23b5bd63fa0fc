import { setTimeout as sleep } from "node:timers/promises";
import { NodeError } from "../errors.ts";
import { formatCpuList, parseCpuList } from "./cpu-list.ts";
import { isWholeCore, type ReadText } from "./topology.ts";
import type { CgroupTree } from "./tree.ts";

/** CPUs for one microVM, from whoever places it. */
export interface CpuShare {
  /** CPUs of one core for each virtual CPU; none when there is no floor. */
  readonly vcpus: readonly (readonly number[])[];
  /** For its other threads; null for any. */
  readonly shared: readonly number[] | null;
}

/** The groups of one microVM's threads, in its own group. */
const sharedName = "shared";
const vcpuName = /^vcpu(\d+)$/;

const vcpuGroups = (tree: CgroupTree, folder: string): string[] =>
  tree
    .children(folder)
    .filter((name) => vcpuName.test(name))
    .map((name) => `${folder}/${name}`);

const cpusOf = (tree: CgroupTree, group: string): number[] => parseCpuList(tree.read(`${group}/cpuset.cpus`) ?? "");

export const isFloored = (tree: CgroupTree, folder: string): boolean => vcpuGroups(tree, folder).length > 0;

export const takenBy = (tree: CgroupTree, folder: string): number[] =>
  vcpuGroups(tree, folder).flatMap((group) => cpusOf(tree, group));

export const sharedOf = (tree: CgroupTree, folder: string): number[] | undefined =>
  isFloored(tree, folder) ? cpusOf(tree, `${folder}/${sharedName}`) : undefined;

/** The group that the launcher joins: what it starts is not on a virtual CPU's core, from its first instruction on. */
export const startGroup = (folder: string, share: CpuShare): string =>
  share.vcpus.length === 0 ? folder : `${folder}/${sharedName}`;

/** Synchronous: between the choice of cores and this record of it nothing else may run. */
export function makeVmGroups(tree: CgroupTree, folder: string, { vcpus, shared }: CpuShare): void {
  if (tree.read(`${folder}/cpuset.cpus`) === undefined) return; // no cpuset here, so nothing was given
  tree.write(`${folder}/cpuset.cpus`, formatCpuList([...vcpus.flat(), ...(shared ?? [])]));
  if (vcpus.length === 0) return;
  const groups = new Map<string, readonly number[]>([[sharedName, shared ?? []]]);
  for (const [at, cpus] of vcpus.entries()) groups.set(`vcpu${at}`, cpus);
  for (const name of groups.keys()) {
    tree.make(`${folder}/${name}`);
    // Threads of one process can be apart only in groups of this type.
    if (tree.read(`${folder}/${name}/cgroup.type`) !== "threaded")
      tree.write(`${folder}/${name}/cgroup.type`, "threaded");
  }
  tree.write(`${folder}/cgroup.subtree_control`, "+cpuset");
  for (const [name, cpus] of groups) tree.write(`${folder}/${name}/cpuset.cpus`, formatCpuList(cpus));
}

/** After the end of its processes. The last threads of a process leave a moment after it has gone. */
export async function dropVmGroups(tree: CgroupTree, folder: string): Promise<void> {
  const left = () =>
    [...vcpuGroups(tree, folder), `${folder}/${sharedName}`].filter((group) => !tree.remove(group)).length;
  for (let attempt = 0; left() > 0; attempt++) {
    if (attempt === 200) throw new NodeError("cgroup-failed", `threads in ${folder} do not end`);
    await sleep(attempt < 20 ? 1 : 10);
  }
}

/** Each virtual CPU alone in its group, on a core that is online and wholly its own, and the others elsewhere. */
export function isSeated(tree: CgroupTree, folder: string, read: ReadText): boolean {
  const groups = vcpuGroups(tree, folder);
  const onItsOwn = (group: string) => tree.read(`${group}/cpuset.cpus.effective`) === tree.read(`${group}/cpuset.cpus`);
  const alone = groups.every(
    (group) => (tree.read(`${group}/cgroup.threads`) ?? "").split("\n").filter(Boolean).length === 1,
  );
  return (
    groups.length > 0 &&
    alone &&
    [...groups, `${folder}/${sharedName}`].every(onItsOwn) &&
    groups.every((group) => isWholeCore(cpusOf(tree, group), read))
  );
}

/**
 * Moves the threads of virtual CPUs to their groups, as far as they are there yet.
 * @param threads their ids, by number of the virtual CPU
 */
export function seat(tree: CgroupTree, folder: string, threads: ReadonlyMap<number, number>): void {
  for (const group of vcpuGroups(tree, folder)) {
    if (tree.read(`${group}/cgroup.threads`) !== "") continue;
    const thread = threads.get(Number(vcpuName.exec(group.slice(folder.length + 1))?.[1]));
    if (thread !== undefined) tree.write(`${group}/cgroup.threads`, String(thread));
  }
}
