import { NodeError } from "../errors.ts";

/** More than any kernel is built for (CONFIG_NR_CPUS is 8192 at most): what names a higher one is no list of CPUs. */
const maxCpu = 8191;

/**
 * The kernel's way to write a set of CPUs, "0-3,7" (cpuset(7), "List format"); nothing is the empty set.
 * @throws NodeError `topology` for anything else: an order that is wrong, a number twice, other characters
 */
export function parseCpuList(text: string): number[] {
  const cpus: number[] = [];
  const trimmed = text.replace(/\n$/, "");
  for (const part of trimmed === "" ? [] : trimmed.split(",")) {
    const found = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    const [first, last] = [Number(found?.[1]), Number(found?.[2] ?? found?.[1])];
    if (found === null || last < first || last > maxCpu || first <= (cpus.at(-1) ?? -1)) {
      throw new NodeError("topology", `'${text.slice(0, 40).trim()}' is no list of CPUs as the kernel writes one`);
    }
    for (let cpu = first; cpu <= last; cpu++) cpus.push(cpu);
  }
  return cpus;
}

export function formatCpuList(cpus: readonly number[]): string {
  const sorted = [...new Set(cpus)].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let at = 0; at < sorted.length; ) {
    const from = at++;
    while (sorted[at] === (sorted[at - 1] ?? 0) + 1) at++;
    parts.push(at - from === 1 ? `${sorted[from]}` : `${sorted[from]}-${sorted[at - 1]}`);
  }
  return parts.join(",");
}
