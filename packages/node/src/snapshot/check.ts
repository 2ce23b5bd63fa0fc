import { isDeepStrictEqual } from "node:util";
import type { LaunchRequest, SealedFile, SnapshotOrigin } from "@exai/api/host";
import type { LifetimeId } from "@exai/base";
import type { VmContext } from "../context.ts";
import { NodeError } from "../errors.ts";
import { digestFile } from "./chunks.ts";
import { machineOf, originOf } from "./origin.ts";
import { gone } from "./seal.ts";
import { stampOf } from "./stamp.ts";
import { isMounted, readVolume, volumePaths } from "./volumes.ts";

export interface SnapshotFiles {
  readonly state: string;
  readonly memory?: string;
}

/**
 * The files of a snapshot that this host and this request may begin from: made by the same VMM, on the same processor,
 * of the same machine, and what was saved.
 * @param source whose snapshot it is
 * @param executable of the VMM that shall load it
 * @throws NodeError `no-snapshot`, `snapshot-mismatch`, `snapshot-broken`
 */
export async function checkSnapshot(
  source: VmContext,
  lifetime: LifetimeId,
  request: LaunchRequest,
  executable: string,
): Promise<SnapshotFiles> {
  const record = readVolume(source, lifetime);
  if (record?.files === undefined || !isMounted(source, lifetime)) throw gone();
  const difference = differenceOf(
    record.origin,
    await originOf(request.vmm, executable, machineOf(request), executable),
  );
  if (difference !== undefined)
    throw new NodeError(
      "snapshot-mismatch",
      `the snapshot can't be loaded: ${difference}; start the workspace from its disk`,
    );
  const paths = volumePaths(source, lifetime);
  await mustBe(paths.state, record.files.state);
  if (record.files.memory === undefined) return { state: paths.state };
  await mustBe(paths.memory, record.files.memory);
  return { state: paths.state, memory: paths.memory };
}

/** To hash a gigabyte takes a second or more: it is done when somebody has touched the file. */
async function mustBe(path: string, { stamp, ...wanted }: SealedFile): Promise<void> {
  if (stampOf(path) === stamp) return;
  if (isDeepStrictEqual(await digestFile(path, wanted.sizeBytes, "snapshot-broken"), wanted)) return;
  throw new NodeError(
    "snapshot-broken",
    "the snapshot can't be loaded: its files are not what was saved; start the workspace from its disk",
  );
}

/** Without what a distribution adds to its version; the digest tells builds apart. */
const named = ({ version, sha256 }: SnapshotOrigin["vmm"]): string =>
  `'${version.replace(/ \(.*/, "")}' (sha256 ${sha256.slice(0, 12)})`;

/** In words for a person, the first that differs. */
export function differenceOf(then: SnapshotOrigin, now: SnapshotOrigin): string | undefined {
  const { vmm } = then;
  if (vmm.name !== now.vmm.name) return `${vmm.name} made it, and this host starts ${now.vmm.name}`;
  if (vmm.sha256 !== now.vmm.sha256) return `${named(vmm)} made it, and this host has ${named(now.vmm)}`;
  if (!isDeepStrictEqual(then.cpu, now.cpu)) {
    const same = then.cpu.name === now.cpu.name ? ", with other features" : "";
    return `it is of a processor '${then.cpu.name}', and this host has '${now.cpu.name}'${same}`;
  }
  for (const file of then.machine.files) {
    const there = now.machine.files.find((each) => each.target === file.target);
    if (there?.blob !== file.blob) return `it was booted from another ${file.target.replace(/^\/vm\//, "")}`;
  }
  const { cpus, memoryMib } = then.machine;
  if (cpus !== now.machine.cpus || memoryMib !== now.machine.memoryMib)
    return `it has ${cpus} CPUs and ${memoryMib} MiB, not ${now.machine.cpus} and ${now.machine.memoryMib}`;
  if (!isDeepStrictEqual(then.machine, now.machine)) return "its devices are others";
  return undefined;
}
