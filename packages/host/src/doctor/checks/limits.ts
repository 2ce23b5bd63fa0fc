import { uidRanges } from "../../home/uid-range.ts";
import { type Check, okIf, unknown } from "../check.ts";

/** Descriptors that the busiest of our processes may need: some for each of many microVMs. */
const leastFiles = 4096;

export const limitsChecks: readonly Check[] = [
  {
    id: "uid-range",
    severity: { production: "fail" },
    reason: "each microVM has a uid that nobody else has: whoever shared it could read its disk and end its VMM",
    remedy: `give uids ${uidRanges.first} to ${uidRanges.last} to nobody in /etc/passwd, /etc/subuid or /etc/subgid`,
    command: `awk -F: '$3 >= ${uidRanges.first} && $3 <= ${uidRanges.last}' /etc/passwd; cat /etc/subuid /etc/subgid`,
    look(facts) {
      const passwd = facts.read("/etc/passwd");
      if (passwd === undefined || !/^root:[^:]*:0:/m.test(passwd)) return unknown("/etc/passwd is not understood");
      const users = ranges(passwd, 2, undefined);
      const given = ["/etc/subuid", "/etc/subgid"].map((path) => ranges(facts.read(path) ?? "", 1, 2));
      const all = [users, ...given];
      if (all.some((each) => each === undefined))
        return unknown("a line of /etc/passwd or /etc/subuid is not understood");
      const taken = all.flatMap((each) => each ?? []).filter(({ first, last }) => overlaps(first, last));
      return okIf(
        taken.length === 0,
        taken.length === 0 ? "nobody else has them" : `${taken.length} others may have them`,
      );
    },
  },
  {
    id: "open-files",
    severity: { production: "warn" },
    reason: "processes of the stack hold some files for each microVM, and refuse new ones when they have no more",
    remedy: "raise the limit: LimitNOFILE=65536 in the service's unit, or ulimit -Hn",
    command: "ulimit -Hn; cat /proc/sys/fs/file-max",
    look(facts) {
      const own = /^Max open files +\S+ +(\d{1,20}|unlimited) /m.exec(facts.read("/proc/self/limits") ?? "")?.[1];
      const all = facts.read("/proc/sys/fs/file-max") ?? "";
      if (own === undefined || !/^\d{1,20}$/.test(all)) return unknown("the kernel does not tell the limits");
      const enough = (own === "unlimited" || Number(own) >= leastFiles) && Number(all) >= 16 * leastFiles;
      return okIf(enough, `${own} for a process, ${all} for all`);
    },
  },
];

interface Range {
  readonly first: number;
  readonly last: number;
}

/** Lines of fields between colons; undefined when one is not understood. `count` names a field with a range's length. */
function ranges(text: string, start: number, count: number | undefined): Range[] | undefined {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  // In passwd, +@netgroup and the like stand for users of a directory, whose uids are not here.
  const own = lines.filter((line) => count !== undefined || !/^[+-]/.test(line)).map((line) => line.split(":"));
  const found = own.map((fields) => {
    const first = Number(fields[start] || Number.NaN);
    const length = count === undefined ? 1 : Number(fields[count] || Number.NaN);
    return { first, last: first + length - 1 };
  });
  return found.every(({ first, last }) => Number.isSafeInteger(first) && Number.isSafeInteger(last))
    ? found
    : undefined;
}

const overlaps = (first: number, last: number): boolean => first <= uidRanges.last && last >= uidRanges.first;
