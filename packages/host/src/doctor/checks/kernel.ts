import { bad, type Check, ok, okIf, unknown } from "../check.ts";
import type { HostFacts } from "../facts.ts";

export interface KernelVersion {
  readonly text: string;
  readonly major: number;
  readonly minor: number;
}

/** @throws Error when it is no version */
export function kernelVersion(facts: HostFacts): KernelVersion {
  const text = facts.read("/proc/sys/kernel/osrelease") ?? "";
  const found = /^(\d{1,3})\.(\d{1,3})[.-][\w.+~-]{0,60}$/.exec(text);
  if (found === null) throw new Error("the kernel does not tell its version");
  return { text, major: Number(found[1]), minor: Number(found[2]) };
}

export const isAtLeast = (found: KernelVersion, major: number, minor: number): boolean =>
  found.major > major || (found.major === major && found.minor >= minor);

/** Host kernels that Firecracker's project tests 1.12 on (its docs/kernel-policy.md). */
const tested = ["5.10", "6.1"];

const printk = /^(\d{1,2})(\s+\d{1,2}){3}$/;

export const kernelChecks: readonly Check[] = [
  {
    id: "host-kernel",
    severity: { production: "fail" },
    reason: "older kernels lack what limits and watches microVMs, and get no more mends",
    remedy: "use a kernel 5.10 or newer of a distribution that mends it",
    command: "uname -r",
    look(facts) {
      const found = kernelVersion(facts);
      return okIf(isAtLeast(found, 5, 10), found.text);
    },
  },
  {
    id: "host-kernel-tested",
    severity: { production: "warn" },
    reason: "Firecracker's project tests its releases on a few long-term kernels only",
    remedy: `use a kernel ${tested.join(" or ")}, or run your own tests on this one`,
    command: "uname -r",
    look(facts) {
      const { text, major, minor } = kernelVersion(facts);
      const known = tested.includes(`${major}.${minor}`);
      return okIf(
        known,
        known ? text : `${text} is not among those that Firecracker is tested on: ${tested.join(", ")}`,
      );
    },
  },
  {
    id: "device-mapper",
    severity: { production: "warn" },
    reason: "disks of workspaces will be encrypted by dm-crypt; nothing uses it yet",
    remedy: "modprobe dm_crypt, or use a kernel with CONFIG_DM_CRYPT",
    command: "grep device-mapper /proc/misc; ls -d /sys/module/dm_crypt; modinfo -n dm_crypt",
    look(facts) {
      const loaded = /^\s*\d+ device-mapper$/m.test(facts.read("/proc/misc") ?? "");
      const crypt = facts.list("/sys/module/dm_crypt") !== undefined;
      if (loaded && crypt) return ok("with dm-crypt");
      const modules = `/lib/modules/${kernelVersion(facts).text}`;
      const names = facts.read(`${modules}/modules.builtin`) ?? "";
      const files = [...(facts.list(`${modules}/kernel/drivers/md`) ?? []), ...names.split(/[/\n]/)];
      const has = (name: string) => files.some((file) => file.replace(/\.ko(\.\w+)?$/, "") === name);
      const missing = [
        ...(loaded || has("dm-mod") ? [] : ["device-mapper"]),
        ...(crypt || has("dm-crypt") ? [] : ["dm-crypt"]),
      ];
      return missing.length === 0 ? ok("can be loaded") : bad(`this kernel has no ${missing.join(" and no ")}`);
    },
  },
  {
    id: "kernel-console",
    severity: { production: "warn" },
    reason: "what guests make the kernel say goes over a slow console and holds up starts and restores",
    remedy: "boot with quiet loglevel=1",
    command: "cat /proc/sys/kernel/printk",
    look(facts) {
      const level = printk.exec(facts.read("/proc/sys/kernel/printk") ?? "")?.[1];
      if (level === undefined) return unknown("the kernel does not tell what it prints");
      return okIf(Number(level) <= 4, `messages below level ${level} are printed on the console`);
    },
  },
  {
    id: "kernel-log-rate",
    severity: { production: "warn" },
    reason: "a guest that makes the kernel complain again and again must not fill its log",
    remedy: "sysctl -w kernel.printk_ratelimit=5",
    command: "cat /proc/sys/kernel/printk_ratelimit /proc/sys/kernel/printk_ratelimit_burst",
    look(facts) {
      const seconds = facts.read("/proc/sys/kernel/printk_ratelimit") ?? "";
      const burst = facts.read("/proc/sys/kernel/printk_ratelimit_burst") ?? "";
      if (!/^\d{1,9}$/.test(seconds) || !/^\d{1,9}$/.test(burst)) return unknown("the kernel does not tell its limit");
      const limited = Number(seconds) > 0 && Number(burst) <= 1000;
      return okIf(limited, limited ? `${burst} messages in ${seconds} s` : "messages are not limited");
    },
  },
];
