import { readFileSync } from "node:fs";
import { ifThere } from "./files.ts";

/** A process is meant only when its start time fits too, since pids are used again. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of /proc/PID/stat (proc(5)). */
  readonly startTime: number;
}

export function isAlive(identity: ProcessIdentity): boolean {
  const stat = ifThere(() => readFileSync(`/proc/${identity.pid}/stat`, "latin1"));
  if (stat === undefined) return false;
  // The name may contain anything, also `)`: what counts starts after the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] !== "Z" && fields[0] !== "X" && Number(fields[19]) === identity.startTime;
}

let known: string | undefined;

/** Pids and start times of an earlier boot mean nothing. */
export function bootId(): string {
  known ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return known;
}
