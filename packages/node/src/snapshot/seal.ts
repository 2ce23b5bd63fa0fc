import { chmodSync, chownSync, lchownSync, lstatSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { SealedFile, SnapshotRecord } from "@exai/api/host";
import type { LifetimeId } from "@exai/base";
import type { VmContext } from "../context.ts";
import { NodeError } from "../errors.ts";
import { inspect } from "../state.ts";
import { digestFile } from "./chunks.ts";
import { stampOf } from "./stamp.ts";
import { launcher } from "./volume.ts";
import { isMounted, readVolume, volumePaths, writeVolume } from "./volumes.ts";
import { isWholeQemuState } from "./whole.ts";

/**
 * Once its VMM has ended, a volume's files become root's and are hashed. May be repeated.
 * @throws NodeError `running`, `no-snapshot`
 */
export async function sealSnapshot(vm: VmContext, lifetime: LifetimeId): Promise<SnapshotRecord> {
  const record = readVolume(vm, lifetime);
  if (record === undefined || !isMounted(vm, lifetime)) throw gone();
  if (record.files !== undefined) return record;
  const state = inspect(vm);
  if (state.kind === "running" && state.launch.lifetime === lifetime)
    throw new NodeError("running", "the VMM that writes the snapshot still runs");
  takeOver(vm, lifetime, record);
  await launcher(vm, ["volume-seal", "--at", volumePaths(vm, lifetime).at]);
  vm.afterStep("volume taken over");
  const { state: stateFile, memory: memoryFile } = volumePaths(vm, lifetime);
  const withMemory = record.origin.vmm.name === "firecracker";
  const wantedBytes = record.origin.machine.memoryMib * 2 ** 20;
  if (!withMemory && !(await isWholeQemuState(stateFile))) throw half();
  const files = {
    state: await sealFile(stateFile, record.sizeMib * 2 ** 20),
    ...(withMemory ? { memory: await sealFile(memoryFile, wantedBytes) } : {}),
  };
  if (files.state.sizeBytes === 0 || (files.memory !== undefined && files.memory.sizeBytes !== wantedBytes))
    throw half();
  const sealed = { ...record, files };
  writeVolume(vm, lifetime, sealed);
  vm.afterStep("volume sealed");
  return sealed;
}

/** The stamp is taken first: what is written meanwhile, if anything could be, would show. */
async function sealFile(path: string, mostBytes: number): Promise<SealedFile> {
  const stamp = stampOf(path) ?? "";
  return { ...(await digestFile(path, mostBytes)), stamp };
}

/**
 * The VMM is gone and its uid has no other process, so nothing changes under these hands. The folder comes last: when it
 * is root's, all was done.
 */
function takeOver(vm: VmContext, lifetime: LifetimeId, record: SnapshotRecord): void {
  const { data } = volumePaths(vm, lifetime);
  if (statSync(data).uid === 0) return;
  const wanted = record.origin.vmm.name === "firecracker" ? ["state", "memory"] : ["state"];
  for (const name of readdirSync(data)) {
    const path = join(data, name);
    if (!wanted.includes(name) || !lstatSync(path).isFile()) rmSync(path, { recursive: true, force: true });
    else {
      lchownSync(path, 0, 0);
      chmodSync(path, 0o444);
    }
  }
  chmodSync(data, 0o555);
  chownSync(data, 0, 0);
}

const half = (): NodeError =>
  new NodeError(
    "no-snapshot",
    "the volume holds half a snapshot: the VMM did not come to its end; drop it, and start the workspace from its disk",
  );

export const gone = (): NodeError =>
  new NodeError(
    "no-snapshot",
    "there is no such snapshot, a restart of the host takes those in memory; start the workspace from its disk",
  );
