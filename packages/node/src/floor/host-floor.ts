import { existsSync } from "node:fs";
import type { FloorState } from "@exai/api/host";
import { cgroup2Mount } from "../cgroup.ts";
import { parseCpuList } from "./cpu-list.ts";
import { CorePool } from "./pool.ts";
import { type ReadText, readTopology } from "./topology.ts";
import { kernelTree as tree } from "./tree.ts";

const tried = /^exai-check-(\d+)-try$/;
const stackGroup = /^exai-[a-z2-7]{8}$/;

/**
 * Whether a stack on this host could give each virtual CPU a core: tried with a partition of its own, which is gone again
 * when this returns. Where a stack has one already, that is the answer.
 */
export function hostFloor(mount = cgroup2Mount() ?? null, read: ReadText = tree.read): FloorState {
  for (const name of mount === null ? [] : tree.children(mount).filter((each) => stackGroup.test(each))) {
    if (tree.read(`${mount}/${name}/cpuset.cpus.partition`) !== "root") continue;
    const cpus = tree.read(`${mount}/${name}/cpuset.cpus.effective`) ?? "";
    const { cores } = readTopology(parseCpuList(cpus), read);
    return { enforced: true, cores: cores.length, about: `a running stack holds CPUs ${cpus}` };
  }
  if (mount !== null) sweep(mount);
  return new CorePool({ mount, folder: `${mount}/exai-check-${process.pid}`, tree, read }).state();
}

/** A try whose process was killed in the middle keeps its CPUs from the host. */
function sweep(mount: string): void {
  for (const name of tree.children(mount)) {
    const pid = tried.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) tree.remove(`${mount}/${name}`);
  }
}
