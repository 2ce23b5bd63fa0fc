import { basename } from "node:path";
import { uidOffsets } from "../home/paths.ts";
import { uidRanges } from "../home/uid-range.ts";
import type { HostFacts } from "./facts.ts";

/** A VMM that runs now, as the kernel tells of it; nothing of what it says of itself is used. */
export interface RunningVmm {
  readonly pid: string;
  readonly uid: number;
  readonly status: ReadonlyMap<string, string>;
}

/**
 * Every process with a uid of the range of microVMs, of whatever stack of this machine, but their keepers: what else
 * runs with such a uid is taken for a VMM too, and so can't hide.
 * @throws Error when the caller may not look
 */
export function runningVmms(facts: HostFacts): RunningVmm[] {
  const found: RunningVmm[] = [];
  for (const pid of (facts.list("/proc") ?? []).filter((name) => /^\d{1,10}$/.test(name))) {
    const text = facts.read(`/proc/${pid}/status`);
    if (text === undefined) continue; // it went
    const status = fieldsOf(text);
    const uid = Number(/^(\d{1,10})\t/.exec(status.get("Uid") ?? "")?.[1]);
    if (Number.isNaN(uid)) throw new Error(`the kernel does not tell whose process ${pid} is`);
    if (!isVmUid(uid) || status.get("State")?.startsWith("Z") === true) continue;
    const program = facts.link(`/proc/${pid}/exe`);
    if (program === undefined || basename(program) === "exai-launcher") continue;
    found.push({ pid, uid, status });
  }
  return found;
}

const isVmUid = (uid: number): boolean =>
  uid >= uidRanges.first &&
  uid <= uidRanges.last &&
  (uid - uidRanges.first) % uidOffsets.rangeSize >= uidOffsets.firstVm;

/** proc_pid_status(5): a name, a colon, a tab, a value. */
export function fieldsOf(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split("\n").flatMap((line): [string, string][] => {
      const at = line.indexOf(":");
      return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1).trim()]];
    }),
  );
}
