import { readFileSync } from "node:fs";

/** Proportional set size of a process in MiB (proc(5), smaps_rollup), 0 when it is gone. */
export function pssMib(pid: number): number {
  try {
    const match = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
    return Math.round((Number(match?.[1] ?? 0) / 1024) * 10) / 10;
  } catch {
    return 0;
  }
}
