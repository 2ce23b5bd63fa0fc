import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { probeKvm } from "@exai/machine";
import { cachePaths, root } from "../build/paths.ts";
import { nestedPlace, type Place, thisPlace } from "./place.ts";
import { findSuites } from "./suite-files.ts";
import { runSuites } from "./suites.ts";

export interface TestOptions {
  full: boolean;
  names: readonly string[];
  parallel?: number;
  say: (text: string) => void;
  signal: AbortSignal;
}

export const testOutput = join(root, "build/test-kvm");

/** Runs the suites of tests/kvm where KVM works. @returns whether all passed */
export async function testKvm({ full, names, parallel, say, signal }: TestOptions): Promise<boolean> {
  const suites = findSuites({ full, wanted: names });
  const place = await choosePlace(say);
  // An emulated host keeps one core busy; real ones share devices, names and cgroups.
  const atOnce = place === thisPlace ? 1 : Math.max(1, parallel ?? Math.min(2, availableParallelism()));
  const startedMs = performance.now();
  const { success } = await runSuites({ place, suites, out: testOutput, parallel: atOnce, say, signal });
  const nested = suites.filter((suite) => place === nestedPlace || suite.nested).length;
  const minutes = ((performance.now() - startedMs) / 60_000).toFixed(1);
  say(`${suites.length} suites in ${minutes} minutes, ${nested} of them in a nested host each`);
  const evidence = describeEvidence(join(testOutput, "evidence", "evidence.json"));
  if (evidence !== undefined) say(`evidence: ${evidence}`);
  return success;
}

/** Where suites run: here, if KVM works. */
export async function choosePlace(say: (text: string) => void): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), "exai-kvm-"));
  try {
    const memoryFile = join(folder, "probe.json");
    const { images: imageStore, release } = cachePaths();
    const releaseKeys = [readFileSync(join(release, "release.pub"), "utf8").trim()];
    const { works, reason } = await probeKvm({ imageStore, releaseKeys, memoryFile });
    say(works ? `suites run on this machine: ${reason}` : `suites run in a nested host, since ${reason}`);
    return works ? thisPlace : nestedPlace;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** One line of what was found to be real. */
function describeEvidence(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  const found = JSON.parse(readFileSync(path, "utf8")) as Record<string, Record<string, string> | undefined>;
  const { firecracker, api, guest } = found;
  const digest = firecracker?.["sha256"]?.slice(0, 12);
  const version = api?.["firecracker_version"];
  return `${firecracker?.["says"]} (sha256 ${digest}…), its API says ${version}, guest kernel ${guest?.["kernelRelease"]}; ${path}`;
}
