import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { TestStack } from "../../tests/support/stack.ts";

const status = z.looseObject({ processes: z.array(z.looseObject({ name: z.string(), pid: z.number().optional() })) });

export interface StackProcess {
  readonly name: string;
  readonly pid: number;
}

/** Our own processes of a stack: supervisor, node, control, broker, one channel a tenant. */
export async function stackProcesses(stack: TestStack): Promise<StackProcess[]> {
  const { processes } = status.parse(JSON.parse((await stack.must(["status", "--json"])).stdout));
  return processes.flatMap(({ name, pid }) => (pid === undefined ? [] : [{ name, pid }]));
}

/** Launchers and VMMs of a stack, found by the uids in its folders of VMs. */
export function vmProcesses(home: string): StackProcess[] {
  const uids = new Set<string>();
  for (const workspace of readdirSync(join(home, "vms"))) {
    const text = tryRead(join(home, "vms", workspace, "tenant.json"));
    const record = text === undefined ? undefined : z.looseObject({ uid: z.number() }).parse(JSON.parse(text));
    if (record !== undefined) uids.add(String(record.uid));
  }
  const kinds = ["qemu", "exai-launcher"];
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    const uid = /^Uid:\s+\d+\s+(\d+)/m.exec(tryRead(`/proc/${pid}/status`) ?? "")?.[1];
    const name = kinds.find((kind) => (tryRead(`/proc/${pid}/comm`) ?? "").startsWith(kind));
    return uid !== undefined && uids.has(uid) && name !== undefined ? [{ name, pid: Number(pid) }] : [];
  });
}

/** Proportional set size of a process in MiB (proc(5)). */
export const pssMib = (pid: number): number => kilobytes(read(`/proc/${pid}/smaps_rollup`), "Pss") / 1024;

/**
 * PSS of a VMM beyond its guest's memory: the one anonymous mapping of exactly that size.
 * @throws Error when there is no such mapping, or more than one
 */
export function vmmPssMib(pid: number, memoryMib: number): number {
  const mappings = read(`/proc/${pid}/smaps`).split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const guest = mappings.filter(
    (each) => kilobytes(each, "Size") === memoryMib * 1024 && / 00:00 0\s*$/m.test(firstLine(each)),
  );
  const [only, another] = guest;
  if (only === undefined || another !== undefined) {
    throw new Error(
      `process ${pid} has ${guest.length} mappings of ${memoryMib} MiB; the guest's memory can't be told`,
    );
  }
  return pssMib(pid) - kilobytes(only, "Pss") / 1024;
}

/** All per-VM processes, beyond the guests' memory. */
export function vmsPssMib(home: string, memoryMib: number): number {
  return vmProcesses(home).reduce(
    (sum, { name, pid }) => sum + (name === "qemu" ? vmmPssMib(pid, memoryMib) : pssMib(pid)),
    0,
  );
}

const firstLine = (text: string): string => text.slice(0, text.indexOf("\n"));
const read = (path: string): string => readFileSync(path, "latin1");

function kilobytes(text: string, field: string): number {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1];
  if (found === undefined) throw new Error(`no ${field} in smaps`);
  return Number(found);
}

function tryRead(path: string): string | undefined {
  try {
    return read(path);
  } catch {
    return undefined; // it ended while we looked
  }
}
