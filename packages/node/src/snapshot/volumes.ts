import { statSync } from "node:fs";
import { join } from "node:path";
import { type SnapshotRecord, snapshotRecord } from "@exai/api/host";
import { isId, type LifetimeId } from "@exai/base";
import type { VmContext } from "../context.ts";
import { ifThere, listIfThere, replaceFile } from "../files.ts";
import { readRecord, unlessTorn } from "../records.ts";

/** Volumes as they are on disk and in the kernel: nothing here makes or removes one. */

export function volumePaths(vm: Pick<VmContext, "paths">, lifetime: LifetimeId) {
  const at = join(vm.paths.volumes, lifetime);
  const data = join(at, "data");
  return { at, data, record: `${at}.json`, state: join(data, "state"), memory: join(data, "memory") };
}

/** The record, or undefined when there is no such volume; one that a power cut tore is none: no volume outlives that. */
export const readVolume = (vm: VmContext, lifetime: LifetimeId): SnapshotRecord | undefined =>
  unlessTorn(() => readRecord(volumePaths(vm, lifetime).record, snapshotRecord));

export const writeVolume = (vm: VmContext, lifetime: LifetimeId, record: SnapshotRecord): void =>
  replaceFile(volumePaths(vm, lifetime).record, `${JSON.stringify(record)}\n`, 0o600);

export function volumesOf(vm: Pick<VmContext, "paths">): LifetimeId[] {
  const names = listIfThere(vm.paths.volumes).map(({ name }) => name);
  return names.filter((name): name is LifetimeId => isId(name));
}

/** MiB that they may take together. */
export const volumesMib = (vm: VmContext): number =>
  volumesOf(vm)
    .filter((lifetime) => isMounted(vm, lifetime))
    .reduce((sum, lifetime) => sum + (readVolume(vm, lifetime)?.sizeMib ?? 0), 0);

/** After a restart of the host the folder is there, and nothing in it. */
export function isMounted(vm: VmContext, lifetime: LifetimeId): boolean {
  const device = (path: string): number | undefined => ifThere(() => statSync(path).dev);
  const own = device(volumePaths(vm, lifetime).at);
  return own !== undefined && own !== device(vm.paths.volumes);
}
