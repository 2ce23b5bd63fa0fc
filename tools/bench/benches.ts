import type { Bench } from "./context.ts";
import { copy } from "./copy.ts";
import { exec } from "./exec.ts";
import { fleet } from "./fleet.ts";
import { memory } from "./memory.ts";
import { runCold } from "./run-cold.ts";
import { type BenchId, machineIds } from "./targets.ts";

export interface Group {
  readonly ids: readonly BenchId[];
  readonly run: Bench;
}

const groups: readonly Group[] = [
  { ids: ["run-cold-ratio", "run-cold-s"], run: runCold },
  { ids: ["exec-overhead-ms"], run: exec },
  { ids: ["cp-up-ratio", "cp-down-ratio"], run: copy },
  { ids: ["idle-stack-mib", "first-vm-mib"], run: memory },
  { ids: ["per-vm-mib", "vms-at-once"], run: fleet },
];

/** The groups that give the wanted figures. @throws RangeError for an id that does not exist */
export function chosen(wanted: readonly string[] = machineIds): Group[] {
  const unknown = wanted.find((id) => !(machineIds as string[]).includes(id));
  if (unknown !== undefined)
    throw new RangeError(`there is no figure '${unknown}'; there are ${machineIds.join(", ")}`);
  return groups
    .map(({ ids, run }) => ({ ids: ids.filter((id) => wanted.includes(id)), run }))
    .filter(({ ids }) => ids.length > 0);
}
