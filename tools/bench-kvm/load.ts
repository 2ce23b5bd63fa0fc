import { join } from "node:path";
import { jail, type SnapshotRef } from "@exai/api/host";
import { newLifetimeId, newWorkspaceId } from "@exai/base";
import { connectMonitor, dialGuest, planFirecracker, startMachine } from "@exai/machine";
import type { SnapshotFiles } from "../../packages/node/src/snapshot/check.ts";
import { firecrackerDriver } from "../../tests/kvm/machine-kvm.ts";
import { bootFiles, imageStore } from "../../tests/kvm/where.ts";
import type { MachineDriver } from "../../tests/support/machine-driver.ts";
import { type Result, ratioResult } from "../bench/result.ts";
import { firecrackerFolder } from "../nested-host/firecracker.ts";
import { BareHost, takeDisk } from "./bare.ts";
import { runTrue } from "./cold.ts";
import type { InsideOptions } from "./inside.ts";

const size = { cpus: 1, memoryMib: 128 } as const;
const diskMib = 64;
const plan = planFirecracker(bootFiles("base"), size);

interface Source {
  readonly ref: SnapshotRef;
  readonly files: SnapshotFiles;
  readonly disk: string;
}

/**
 * One snapshot, loaded again and again: by our verbs up to the end of a first program, in turns with bare calls up to the agent's
 * hello. Its files lie in memory. The copy of the disk that goes with it is there before the time counts, on both sides.
 */
export async function load({ rounds, say }: InsideOptions): Promise<Result[]> {
  await using driver = await firecrackerDriver();
  await using bare = new BareHost({ imageStore, firecracker: `${firecrackerFolder()}/firecracker` });
  const saved = await driver.launch({ ...size, diskMib });
  await using _machine = saved.machine;
  const source = await save(driver, saved);
  const all: number[] = [];
  const references: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const referenceMs = await reference(bare, source);
    const [totalMs = Number.NaN, ...steps] = await ours(driver, source);
    const parts = steps.map((ms) => ms.toFixed(0)).join(" + ");
    const which = round < 0 ? "warm-up" : `round ${round + 1}`;
    say(`${which}: bare ${referenceMs.toFixed(0)} ms; ours ${totalMs.toFixed(0)} ms = load, hello, exec ${parts}`);
    if (round < 0) continue; // the first compiles what both run
    all.push(totalMs);
    references.push(referenceMs);
  }
  return [ratioResult("kvm-load-ratio", all, references)];
}

async function save(driver: MachineDriver, { machine, dial, folder }: Awaited<ReturnType<MachineDriver["launch"]>>) {
  using guest = await dial();
  machine.ready();
  await runTrue(guest);
  await machine.pause(guest);
  const ref = await machine.save();
  const { files } = driver.saved(ref);
  const named = (name: string): string => files.find((file) => file.endsWith(`/${name}`)) ?? "";
  const found = { state: named("state"), memory: named("memory") };
  return { ref, files: found, disk: join(folder, "overlay.ext4") };
}

async function reference(bare: BareHost, { files, disk }: Source): Promise<number> {
  const vm = await bare.start(plan, diskMib, { files, disk });
  try {
    await vm.api.put("/snapshot/load", {
      snapshot_path: `${jail.snapshot}/state`,
      mem_backend: { backend_type: "File", backend_path: `${jail.snapshot}/memory` },
      resume_vm: true,
    });
    using _guest = await vm.dial();
    return performance.now() - vm.startedMs;
  } finally {
    await vm.remove();
  }
}

async function ours({ node, host }: MachineDriver, { ref, disk }: Source): Promise<number[]> {
  const workspace = newWorkspaceId();
  const [tenant] = host.tenants;
  const { runFolder, vmsFolder } = host.config;
  const { uid = 0 } = await node.prepare({ workspace, diskMib });
  takeDisk(disk, join(vmsFolder, workspace, "overlay.ext4"), uid);
  const monitor = () => connectMonitor(plan.vmm, join(runFolder, "m", tenant, `${workspace}.qmp`));
  const options = { node, workspace, lifetime: newLifetimeId(), diskMib, plan, monitor, load: ref };
  const fromMs = performance.now();
  await using _machine = await startMachine(options);
  const loadedMs = performance.now();
  const channel = join(runFolder, "t", tenant, "vm", workspace, "guest.sock");
  using guest = await dialGuest(channel, { hostname: workspace, timeoutMs: 60_000 });
  const helloMs = performance.now();
  await runTrue(guest);
  const endMs = performance.now();
  return [endMs - fromMs, loadedMs - fromMs, helloMs - loadedMs, endMs - helloMs];
}
