/**
 * The figures that need KVM, where it works: this machine or a nested host. Its caller is on-kvm.ts.
 *   EXAI_KVM_OUT=FOLDER node tools/bench-kvm/inside.ts --only ID,… --rounds N
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { useSpawner } from "../../packages/node/src/exec.ts";
import { keptFolder } from "../../tests/kvm/where.ts";
import { launcher } from "../../tests/vm/host-fixture.ts";
import type { Result } from "../bench/result.ts";
import { cold } from "./cold.ts";
import { load } from "./load.ts";
import { perVm } from "./per-vm.ts";

export interface InsideOptions {
  readonly rounds: number;
  say(line: string): void;
}

const groups: Readonly<Record<string, (options: InsideOptions) => Promise<Result[]>>> = {
  "kvm-cold-ratio": cold,
  "kvm-load-ratio": load,
  "kvm-per-vm-mib": perVm,
};

const { values } = parseArgs({ options: { only: { type: "string" }, rounds: { type: "string" } } });
const wanted = (values.only ?? "").split(",");
const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);
// As the node agent's own process does.
useSpawner(launcher);
const results: Result[] = [];
for (const [id, run] of Object.entries(groups)) {
  if (!wanted.includes(id)) continue;
  say(`${id} …`);
  results.push(...(await run({ rounds: Number(values.rounds), say })));
}
writeFileSync(join(keptFolder(), "results.json"), JSON.stringify(results));
process.exit(0);
