import type { FloorState } from "@exai/api/host";
import { NodeError } from "../errors.ts";
import { choose, type Division, divide, fewestCores } from "./choose.ts";
import { formatCpuList, parseCpuList } from "./cpu-list.ts";
import { broken, isPopulated, Partition, whyNoPartition } from "./partition.ts";
import { type Core, type ReadText, readTopology } from "./topology.ts";
import type { CgroupTree } from "./tree.ts";
import { type CpuShare, isFloored, sharedOf, takenBy } from "./vm-groups.ts";

interface CorePoolOptions {
  /** Where cgroup v2 is mounted; null on a host without. */
  readonly mount: string | null;
  /** This stack's group, right below. */
  readonly folder: string;
  readonly tree: CgroupTree;
  /** For sysfs. */
  readonly read: ReadText;
}

/**
 * The cores that the virtual CPUs of one stack have now, as a partition of the host's. What is in use is read from the
 * groups each time: a new agent knows what an older one gave. docs/internals/floor.md draws them.
 */
export class CorePool {
  readonly #o: CorePoolOptions;
  readonly #partition: Partition;
  /** Why there is no floor, found by trying at the start. */
  #refusal: string | undefined;

  constructor(options: CorePoolOptions) {
    this.#o = options;
    this.#partition = new Partition(options.tree, options.folder);
    this.#refusal = this.#tryOut();
  }

  state(): FloorState {
    const found = this.#look();
    if (typeof found === "string") return { enforced: false, why: found };
    if (found.inUse && !this.#partition.isWhole) return { enforced: false, why: broken(this.#partition.is) };
    const { division, cores } = found;
    return { enforced: true, cores: division.given.length, about: describe(division, cores) };
  }

  /** The same in short. */
  get holds(): boolean {
    return this.#refusal === undefined && (this.#partition.isWhole || !this.#inUse());
  }

  /**
   * Chooses cores and takes them from the host. The caller makes the microVM's groups before anything else happens: they
   * are the record of who has what.
   * @throws NodeError `no-core`
   */
  claim(count: number): CpuShare {
    // Another's try at the same moment, or a core that was offline, must not be the last word.
    if (this.#refusal !== undefined) this.#refusal = this.#tryOut();
    const found = this.#look();
    if (typeof found === "string") return { vcpus: [], shared: this.#groups().shared ?? null };
    const { division, taken, online } = found;
    if (!division.shared.some((cpu) => online.has(cpu))) {
      const list = formatCpuList(division.shared);
      throw new NodeError("no-core", `the CPUs that helper threads share (${list}) are offline; bring one back`);
    }
    const chosen = choose(division.free, count);
    if (chosen === undefined) throw new NodeError("no-core", noCore(count, division));
    const vcpus = chosen.map(({ cpus }) => cpus);
    this.#confine(division.shared);
    if (this.#partition.set([...division.shared, ...taken, ...vcpus.flat()])) return { vcpus, shared: division.shared };
    this.settle();
    return { vcpus: [], shared: this.#groups().shared ?? null };
  }

  /** Gives back to the host what no microVM has any more. */
  settle(): void {
    if (["", "member"].includes(this.#partition.is)) return;
    const { taken, shared } = this.#groups();
    if (shared !== undefined) this.#partition.set([...shared, ...taken]);
    // Those that were confined stay so until they end.
    else if (this.#partition.isPopulated) this.#partition.set(this.#confinedTo());
    else this.#partition.dissolve();
  }

  /** What has no cores of its own must not run on others' when it lives in the partition. */
  #confine(shared: readonly number[]): void {
    const { tree, folder } = this.#o;
    for (const name of tree.children(folder)) {
      if (!isFloored(tree, `${folder}/${name}`)) tree.write(`${folder}/${name}/cpuset.cpus`, formatCpuList(shared));
    }
  }

  #confinedTo(): number[] {
    const { tree, folder } = this.#o;
    const running = tree.children(folder).filter((name) => isPopulated(tree, `${folder}/${name}`));
    return running.flatMap((name) => parseCpuList(tree.read(`${folder}/${name}/cpuset.cpus`) ?? ""));
  }

  #groups(): { taken: Set<number>; shared: readonly number[] | undefined } {
    const { tree, folder } = this.#o;
    const taken = new Set<number>();
    let shared: readonly number[] | undefined;
    for (const name of tree.children(folder)) {
      for (const cpu of takenBy(tree, `${folder}/${name}`)) taken.add(cpu);
      shared ??= sharedOf(tree, `${folder}/${name}`);
    }
    return { taken, shared };
  }

  #inUse(): boolean {
    const { tree, folder } = this.#o;
    return tree.children(folder).some((name) => isFloored(tree, `${folder}/${name}`));
  }

  /** Whose each core is; a text says why there is no floor. */
  #look() {
    if (this.#refusal !== undefined) return this.#refusal;
    try {
      const { taken, shared } = this.#groups();
      const online = this.#available();
      const { cores } = readTopology([...online], this.#o.read);
      const division = divide(cores, { taken, shared });
      return division === undefined ? tooFew(cores) : { division, taken, online, cores, inUse: shared !== undefined };
    } catch (error) {
      if (error instanceof NodeError) return error.message;
      throw error;
    }
  }

  /** CPUs that are online and either everybody's or this stack's already. */
  #available(): Set<number> {
    const everybody = parseCpuList(this.#o.tree.read(`${this.#o.mount}/cpuset.cpus.effective`) ?? "");
    return new Set([...everybody, ...this.#partition.cpus]);
  }

  #tryOut(): string | undefined {
    const { mount, tree, folder } = this.#o;
    if (mount === null) return "cgroup v2 is not mounted";
    const controllers = tree.read(`${mount}/cgroup.controllers`)?.split(" ") ?? [];
    if (!controllers.includes("cpuset")) return `the controller cpuset is not there for cgroup v2 at ${mount}`;
    try {
      tree.write(`${mount}/cgroup.subtree_control`, "+cpuset");
      if (this.#inUse()) return undefined; // an earlier agent's works already
      const { cores } = readTopology([...this.#available()], this.#o.read);
      const division = divide(cores, { taken: new Set(), shared: undefined });
      // In a group of its own: what runs in this stack's must not be moved by a try.
      return division === undefined ? tooFew(cores) : whyNoPartition(tree, `${folder}-try`, division.shared);
    } catch (error) {
      return `its control groups can't be set: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
}

/** One sentence for a person. */
function describe({ given, free, host, shared }: Division, cores: readonly Core[]): string {
  const threads = Math.max(...cores.map(({ cpus }) => cpus.length));
  const nodes = new Set(cores.map(({ node }) => node)).size;
  return [
    `${given.length} cores for virtual CPUs, ${free.length} of them free`,
    `host: CPUs ${formatCpuList(host.flatMap(({ cpus }) => cpus))}, helper threads: ${formatCpuList(shared)}`,
    threads > 1 ? `SMT on, ${threads} threads a core, which is given whole` : "SMT off",
    `${nodes} NUMA node${nodes === 1 ? "" : "s"}`,
  ].join("; ");
}

const tooFew = ({ length }: readonly Core[]): string =>
  `it needs ${fewestCores} whole cores – one for the host, one for helper threads, one for a virtual CPU – and ${length} are here`;

const noCore = (count: number, { free, given }: Division): string => {
  const own = count === 1 ? "1 virtual CPU needs a core of its own" : `${count} virtual CPUs need a core each`;
  return `${own}: ${free.length} of ${given.length} are free on this host`;
};
