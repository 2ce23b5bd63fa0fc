import { formatBytes } from "@exai/base";
import { HostError } from "../../errors.ts";
import { bad, type Check, ok, okIf, unknown } from "../check.ts";
import type { DoctorContext } from "../context.ts";
import { shellCommand } from "../shell-word.ts";

const mke2fs = "/usr/sbin/mke2fs";
const kinds = ["mnt", "net", "pid", "ipc", "uts", "cgroup"];

/** What the machine should have besides the requirements of a start. */
export const machineChecks = ({ home, executables, requireOwn, requireOwnHome }: DoctorContext): Check[] => [
  {
    id: "disk",
    severity: { development: "warn", production: "warn" },
    reason: "disks of workspaces grow as they are written",
    remedy: "free some space or put EXAI_HOME elsewhere",
    command: `df -h ${shellCommand(home)} || df -h /`,
    look(facts) {
      const at = facts.stat(home) === undefined ? "/" : home;
      const free = facts.freeBytes(at);
      return okIf(free > 5 * 2 ** 30, `${formatBytes(free)} free at ${at}`);
    },
  },
  {
    id: "home",
    severity: { development: "fail", production: "fail" },
    reason: "root changes owners and modes in it, so whoever else could write to it could aim that elsewhere",
    remedy: "choose an EXAI_HOME in a folder that only root can change",
    command: shellCommand("namei", "-l", home),
    look: () => said(() => requireOwnHome(home)),
  },
  {
    id: "own-paths",
    severity: { production: "fail" },
    reason: "root executes these, so whoever else could write to one or to a folder above it is root here",
    remedy: "install them where only root can write (chown root, chmod go-w), folders above included",
    command: shellCommand("namei", "-l", ...executables),
    look: () =>
      said(() => {
        for (const path of executables) requireOwn(path);
        return `${executables.length} programs that only root can change`;
      }),
  },
  {
    id: "mke2fs",
    severity: { development: "fail", production: "fail" },
    reason: "it makes the file system of each workspace's disk",
    remedy: "apt-get install e2fsprogs",
    command: `${mke2fs} -V`,
    async look(facts) {
      if (facts.stat(mke2fs) === undefined) return bad(`${mke2fs} is not installed`);
      const first = (await facts.run(mke2fs, ["-V"])).split("\n")[0] ?? "";
      return /^mke2fs \d/.test(first) ? ok(first) : unknown(`${mke2fs} does not tell its version`);
    },
  },
  {
    id: "namespaces",
    severity: { development: "fail", production: "fail" },
    reason: "a VMM lives in mount, network, pid, ipc, uts and cgroup namespaces of its own",
    remedy: "use a kernel with CONFIG_NAMESPACES and its kinds",
    command: "ls /proc/self/ns",
    look(facts) {
      const there = facts.list("/proc/self/ns") ?? [];
      const missing = kinds.filter((kind) => !there.includes(kind));
      return okIf(missing.length === 0, missing.length === 0 ? "all kinds" : `missing: ${missing.join(", ")}`);
    },
  },
];

/** What is refused in a sentence of ours is bad; any other error was not foreseen, and so says nothing. */
function said(look: () => string) {
  try {
    return ok(look());
  } catch (error) {
    if (error instanceof HostError) return bad(error.message);
    throw error;
  }
}
