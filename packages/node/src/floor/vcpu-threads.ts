import { readdirSync, readFileSync } from "node:fs";
import { ifThere } from "../files.ts";

/** Firecracker's names, and QEMU's with `-name …,debug-threads=on`. */
const vcpu = /^(?:fc_vcpu |CPU )(\d{1,3})(?:\/(?:KVM|TCG))?$/;

/** More than any VMM of ours has: one that makes thousands to slow us down is read no further. */
const maxThreads = 512;

/** Which virtual CPU a thread of this name runs, by its own word. */
export function vcpuOf(name: string): number | undefined {
  const found = vcpu.exec(name)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** Threads that say that they run a virtual CPU, by its number; the first one that says so counts. */
export function vcpuThreads(pid: number): Map<number, number> {
  const found = new Map<number, number>();
  for (const thread of (ifThere(() => readdirSync(`/proc/${pid}/task`)) ?? []).slice(0, maxThreads)) {
    const name = ifThere(() => readFileSync(`/proc/${pid}/task/${thread}/comm`, "utf8")) ?? "";
    const number = vcpuOf(name.replace(/\n$/, ""));
    if (number !== undefined && !found.has(number)) found.set(number, Number(thread));
  }
  return found;
}
