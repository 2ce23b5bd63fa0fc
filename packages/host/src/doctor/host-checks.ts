import { accessSync, constants, existsSync, readFileSync, statfsSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { formatBytes } from "@exai/base";
import { run } from "../exec.ts";
import { ownFolder } from "../home/own-folder.ts";
import { cgroupLimits } from "./cgroup-limits.ts";
import type { Check } from "./check.ts";

const read = (path: string): string => readFileSync(path, "utf8").trim();

function program(id: string, path: string, args: readonly string[], packageName: string, why: string): Check {
  return {
    id,
    severity: "fail",
    reason: why,
    remedy: `apt-get install ${packageName}`,
    async look() {
      if (!existsSync(path)) return { ok: false, found: `${path} is not installed` };
      const { stdout, stderr } = await run(path, args);
      return { ok: true, found: (stdout || stderr).split("\n")[0] ?? path };
    },
  };
}

/** What the machine should have besides the requirements of a start. */
export function hostChecks(home: string): Check[] {
  return [
    {
      id: "memory",
      severity: "warn",
      reason: "the stack itself needs about 300 MiB, each microVM its memory and up to 48 MiB beyond",
      remedy: "use a machine with 2 GiB or more",
      look: () => ({ ok: totalmem() >= 2 * 2 ** 30, found: `${formatBytes(totalmem())}, ${cpus().length} CPUs` }),
    },
    {
      id: "disk",
      severity: "warn",
      reason: "disks of workspaces grow as they are written",
      remedy: `free some space or put EXAI_HOME elsewhere`,
      look() {
        const at = existsSync(home) ? home : "/";
        const { bavail, bsize } = statfsSync(at);
        return { ok: bavail * bsize > 5 * 2 ** 30, found: `${formatBytes(bavail * bsize)} free at ${at}` };
      },
    },
    {
      id: "home",
      severity: "fail",
      reason: "root changes owners and modes in it, so whoever else could write to it could aim that elsewhere",
      remedy: "choose an EXAI_HOME in a folder that only root can change",
      look: () => ({ ok: true, found: ownFolder(home, "allow") }),
    },
    program("mke2fs", "/usr/sbin/mke2fs", ["-V"], "e2fsprogs", "it makes the file system of each workspace's disk"),
    {
      id: "namespaces",
      severity: "fail",
      reason: "a VMM lives in mount, network, pid, ipc and uts namespaces of its own",
      remedy: "use a kernel with CONFIG_NAMESPACES and its kinds",
      look() {
        const missing = ["mnt", "net", "pid", "ipc", "uts"].filter((kind) => !existsSync(join("/proc/self/ns", kind)));
        return {
          ok: missing.length === 0,
          found: missing.length === 0 ? "all kinds" : `missing: ${missing.join(", ")}`,
        };
      },
    },
    {
      id: "cgroup2",
      severity: "warn",
      reason: "limits on a VMM's memory, CPU and processes are held by cgroup v2; without it they are not enforced",
      remedy: "boot with systemd.unified_cgroup_hierarchy=1",
      look: cgroupLimits,
    },
    {
      id: "kvm-device",
      severity: "warn",
      reason: "without KVM guests are emulated: slow, and not held to be a security boundary by QEMU",
      remedy: "load the kvm module, or give this machine nested virtualisation",
      look() {
        accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
        return { ok: true, found: "/dev/kvm is there; the next check proves whether it works" };
      },
    },
    {
      id: "swap",
      severity: "warn",
      reason: "guest memory must not reach a disk in the clear",
      remedy: "swapoff -a, and remove swap from /etc/fstab",
      look() {
        const devices = read("/proc/swaps").split("\n").slice(1);
        return { ok: devices.length === 0, found: devices.length === 0 ? "off" : `${devices.length} swap devices` };
      },
    },
    {
      id: "ksm",
      severity: "warn",
      reason: "pages merged between guests are a side channel",
      remedy: "echo 0 > /sys/kernel/mm/ksm/run",
      look() {
        const path = "/sys/kernel/mm/ksm/run";
        const value = existsSync(path) ? read(path) : "absent";
        return { ok: value !== "1", found: value === "absent" ? "not in this kernel" : `run = ${value}` };
      },
    },
    {
      id: "core-dumps",
      severity: "warn",
      reason:
        "a core of a process of ours would hold a tenant's data; the launcher forbids it for VMMs, the host should for all",
      remedy: "sysctl -w 'kernel.core_pattern=|/bin/false'",
      look() {
        const pattern = read("/proc/sys/kernel/core_pattern");
        return { ok: pattern.startsWith("|/bin/false") || pattern === "", found: `core_pattern = ${pattern}` };
      },
    },
  ];
}
