import { dirname } from "node:path";
import { formatCpuList, parseCpuList } from "./cpu-list.ts";
import type { CgroupTree } from "./tree.ts";

/**
 * A fake of cgroup v2, for a machine without: sets of CPUs and partitions as kernel 6.1 was seen to treat them (a partition
 * takes its CPUs from its parent, is invalid where they overlap a sibling's or leave the parent none, and an empty effective
 * set falls back to the parent's). Strict: what the real one refuses throws.
 */
export class FakeTree implements CgroupTree {
  readonly mount = "/fake";
  readonly #groups = new Map<string, Map<string, string>>();
  online: Set<number>;

  constructor(cpus: number) {
    this.online = new Set(Array.from({ length: cpus }, (_, at) => at));
    this.make(this.mount);
    this.#file(this.mount).set("cgroup.controllers", "cpuset cpu memory pids");
  }

  #file(folder: string): Map<string, string> {
    const files = this.#groups.get(folder);
    if (files === undefined) throw Object.assign(new Error(`no group ${folder}`), { code: "ENOENT" });
    return files;
  }

  make(folder: string): void {
    if (folder !== this.mount && !this.#groups.has(dirname(folder))) throw new Error(`no parent of ${folder}`);
    const files = [
      ["cpuset.cpus", ""],
      ["cpuset.cpus.partition", "member"],
      ["cgroup.type", "domain"],
      ["cgroup.threads", ""],
    ] as const;
    if (!this.#groups.has(folder)) this.#groups.set(folder, new Map(files));
  }

  remove(folder: string): boolean {
    if (this.children(folder).length > 0 || this.#groups.get(folder)?.get("cgroup.threads")) return false;
    this.#groups.delete(folder);
    return true;
  }

  children(folder: string): string[] {
    return [...this.#groups.keys()]
      .filter((each) => dirname(each) === folder)
      .map((each) => each.slice(folder.length + 1));
  }

  read(file: string): string | undefined {
    const folder = dirname(file);
    const files = this.#groups.get(folder);
    const name = file.slice(folder.length + 1);
    if (files === undefined) return undefined;
    if (name === "cgroup.events") return `populated ${this.#isPopulated(folder) ? 1 : 0}\nfrozen 0`;
    if (name === "cpuset.cpus.effective") return formatCpuList(this.effective(folder));
    if (name === "cpuset.cpus.partition" && files.get(name) === "root") {
      const why = this.#invalid(folder);
      return why === undefined ? "root" : `root invalid (${why})`;
    }
    return files.get(name);
  }

  write(file: string, value: string): void {
    const folder = dirname(file);
    const name = file.slice(folder.length + 1);
    if (name === "cpuset.cpus" && parseCpuList(value).length === 0 && this.#cpus(folder).length > 0) {
      if (this.#isPopulated(folder)) throw new Error("ENOSPC");
    }
    if (name === "cgroup.type" && value !== "threaded") throw new Error("EINVAL");
    this.#file(folder).set(name, value);
  }

  effective(folder: string): number[] {
    const own = this.#cpus(folder);
    const given = this.children(folder)
      .map((name) => `${folder}/${name}`)
      .filter((each) => this.read(`${each}/cpuset.cpus.partition`) === "root")
      .flatMap((each) => this.#cpus(each));
    const isRoot = this.#file(folder).get("cpuset.cpus.partition") === "root" && this.#invalid(folder) === undefined;
    const parent = folder === this.mount || isRoot ? [...this.online] : this.effective(dirname(folder));
    const mine = own.length === 0 ? parent : parent.filter((cpu) => own.includes(cpu));
    return (mine.length === 0 ? parent : mine).filter((cpu) => !given.includes(cpu));
  }

  #isPopulated(folder: string): boolean {
    const groups = [...this.#groups].filter(([each]) => each === folder || each.startsWith(`${folder}/`));
    return groups.some(([, files]) => files.get("cgroup.threads") !== "");
  }

  #cpus(folder: string): number[] {
    return parseCpuList(this.#file(folder).get("cpuset.cpus") ?? "");
  }

  #invalid(folder: string): string | undefined {
    const cpus = this.#cpus(folder);
    const siblings = this.children(dirname(folder)).map((name) => `${dirname(folder)}/${name}`);
    if (dirname(folder) !== this.mount) return "Parent is not a partition root";
    if (cpus.length === 0) return "Cpu list in cpuset.cpus is empty";
    if (siblings.some((each) => each !== folder && this.#cpus(each).some((cpu) => cpus.includes(cpu))))
      return "Cpu list in cpuset.cpus not exclusive";
    if ([...this.online].every((cpu) => cpus.includes(cpu))) return "Parent unable to distribute cpu downstream";
    return undefined;
  }
}

/** sysfs of a machine with `threads` a core, numbered as common machines do: CPU i and i + cores share one. */
export const fakeSysfs =
  ({ cores, threads = 1, nodes = 1 }: { cores: number; threads?: number; nodes?: number }) =>
  (path: string): string | undefined => {
    const all = Array.from({ length: cores * threads }, (_, cpu) => cpu);
    const nodeOf = (cpu: number) => Math.floor(((cpu % cores) * nodes) / cores);
    if (path === "/sys/devices/system/node/online") return formatCpuList(Array.from({ length: nodes }, (_, at) => at));
    const node = /node(\d+)\/cpulist$/.exec(path)?.[1];
    if (node !== undefined) return `${formatCpuList(all.filter((cpu) => nodeOf(cpu) === Number(node)))}\n`;
    const cpu = /cpu(\d+)\/topology\/core_cpus_list$/.exec(path)?.[1];
    if (cpu === undefined || Number(cpu) >= all.length) return undefined;
    return `${formatCpuList(all.filter((each) => each % cores === Number(cpu) % cores))}\n`;
  };
