import { NodeError } from "../errors.ts";
import { formatCpuList, parseCpuList } from "./cpu-list.ts";

/** The text of a file, undefined when there is none. */
export type ReadText = (path: string) => string | undefined;

/** One physical core with all its SMT siblings. */
export interface Core {
  readonly cpus: readonly number[];
  readonly node: number;
}

interface Topology {
  /** By number; each has all its siblings in what was available. */
  readonly cores: readonly Core[];
  /** CPUs of cores that are not wholly available. */
  readonly partial: readonly number[];
}

const cpuFolder = "/sys/devices/system/cpu";
const nodeFolder = "/sys/devices/system/node";

/**
 * The cores among these CPUs, from sysfs. An offline CPU has no topology and is no sibling of anyone.
 * @throws NodeError `topology` when what sysfs says contradicts itself, or is missing
 */
export function readTopology(available: readonly number[], read: ReadText): Topology {
  const free = new Set(available);
  const nodeOf = readNodes(read);
  const owner = new Map<number, Core>();
  const cores: Core[] = [];
  const partial: number[] = [];
  for (const cpu of [...free].sort((a, b) => a - b)) {
    const cpus = siblings(cpu, read);
    const known = cpus.map((each) => owner.get(each)).find((core) => core !== undefined);
    if (known !== undefined) {
      if (known.cpus.join() === cpus.join()) continue;
      throw new NodeError(
        "topology",
        `CPU ${cpu} shares a core with ${cpus.join()}, of which one says ${known.cpus.join()}`,
      );
    }
    const core = { cpus, node: nodeOf(cpu) };
    for (const each of cpus) owner.set(each, core);
    if (cpus.every((each) => free.has(each))) cores.push(core);
    else partial.push(...cpus.filter((each) => free.has(each)));
  }
  return { cores, partial };
}

/** Whether these are all threads of one core that are online: a sibling may have come online since they were chosen. */
export const isWholeCore = (cpus: readonly number[], read: ReadText): boolean =>
  cpus[0] !== undefined && siblingsText(cpus[0], read)?.trim() === formatCpuList(cpus);

function siblingsText(cpu: number, read: ReadText): string | undefined {
  const folder = `${cpuFolder}/cpu${cpu}/topology`;
  // The first name is the newer one, of kernel 5.3.
  return read(`${folder}/core_cpus_list`) ?? read(`${folder}/thread_siblings_list`);
}

function siblings(cpu: number, read: ReadText): number[] {
  const text = siblingsText(cpu, read);
  if (text === undefined) throw new NodeError("topology", `the kernel does not say which core CPU ${cpu} belongs to`);
  const cpus = parseCpuList(text);
  if (!cpus.includes(cpu)) throw new NodeError("topology", `CPU ${cpu} is not among its own core's (${text.trim()})`);
  return cpus;
}

/** A kernel without NUMA has one node. */
function readNodes(read: ReadText): (cpu: number) => number {
  const nodes = new Map<number, number>();
  for (const node of parseCpuList(read(`${nodeFolder}/online`) ?? "")) {
    for (const cpu of parseCpuList(read(`${nodeFolder}/node${node}/cpulist`) ?? "")) nodes.set(cpu, node);
  }
  return (cpu) => nodes.get(cpu) ?? 0;
}
