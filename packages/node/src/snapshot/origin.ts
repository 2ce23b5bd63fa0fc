import { createHash } from "node:crypto";
import { createReadStream, readFileSync, statSync } from "node:fs";
import { release } from "node:os";
import { pipeline } from "node:stream/promises";
import type { LaunchRequest, SnapshotOrigin } from "@exai/api/host";
import { canonicalJson } from "@exai/base";
import { run } from "../exec.ts";
import { cpuIdentity } from "./cpu.ts";

type Machine = SnapshotOrigin["machine"];

/** What of a launch a snapshot depends on; `load` is how it began, not what it is. */
export function machineOf({ argv, config, cpus, memoryMib, kvm, files }: LaunchRequest): Machine {
  const devices = canonicalJson({ argv, config });
  return { cpus, memoryMib, kvm, files, devicesSha256: createHash("sha256").update(devices).digest("hex") };
}

/**
 * @param file the executable; a running VMM's is `/proc/PID/exe`, whatever has that path by now. It is read and never
 *   executed: nothing vouches for it
 * @param own the host's own, which is asked for its version when it is the same
 */
export async function originOf(
  name: LaunchRequest["vmm"],
  file: string,
  machine: Machine,
  own: string,
): Promise<SnapshotOrigin> {
  const sha256 = await digestOf(file);
  const version = (await digestOf(own)) === sha256 ? await versionOf(own, sha256) : "of another build";
  return {
    vmm: { name, version, sha256 },
    cpu: cpuIdentity(),
    hostKernel: release(),
    machine,
  };
}

const digests = new Map<string, string>();
const versions = new Map<string, string>();
const mostKept = 32;

/** Remembered by what changes when a file's content does. */
async function digestOf(file: string): Promise<string> {
  const { dev, ino, size, mtimeMs, ctimeMs } = statSync(file);
  const key = [dev, ino, size, mtimeMs, ctimeMs].join(" ");
  const before = digests.get(key);
  if (before !== undefined) return before;
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return kept(digests, key, hash.digest("hex"));
}

/** The executable's own words, for people; what is compared is the digest. */
async function versionOf(file: string, sha256: string): Promise<string> {
  const before = versions.get(sha256);
  if (before !== undefined) return before;
  const { stdout } = await run(file, ["--version"]);
  const [line = ""] = stdout.split("\n");
  return kept(versions, sha256, line.slice(0, 200));
}

function kept(map: Map<string, string>, key: string, value: string): string {
  if (map.size >= mostKept) map.clear();
  map.set(key, value);
  return value;
}

/** MiB that the host can still give away: proc(5). */
export function availableMib(meminfo = readFileSync("/proc/meminfo", "utf8")): number {
  return Math.floor(Number(/^MemAvailable: +(\d+) kB$/m.exec(meminfo)?.[1] ?? 0) / 1024);
}
