import { formatBytes } from "@exai/base";
import { bad, type Check, ok, okIf, unknown } from "../check.ts";

const ksm = "/sys/kernel/mm/ksm";
const controllers = "/sys/devices/system/edac/mc";

/** What makes a kernel throw a core away. */
const noCore = /^\|\/(usr\/)?bin\/(false|true)( |$)/;

export const memoryChecks: readonly Check[] = [
  {
    id: "memory",
    severity: { development: "warn", production: "warn" },
    reason: "the stack itself needs about 300 MiB, each microVM its memory and up to 48 MiB beyond",
    remedy: "use a machine with 2 GiB or more",
    command: "grep MemTotal /proc/meminfo",
    look(facts) {
      const kib = /^MemTotal:\s+(\d{1,15}) kB$/m.exec(facts.read("/proc/meminfo") ?? "")?.[1];
      if (kib === undefined) return unknown("/proc/meminfo does not say how much there is");
      // A machine of 2 GiB shows less: its kernel keeps some.
      return okIf(Number(kib) >= 1.8 * 2 ** 20, formatBytes(Number(kib) * 1024));
    },
  },
  {
    id: "swap",
    severity: { development: "warn", production: "fail" },
    reason: "guest memory must not reach a disk in the clear",
    remedy: "swapoff -a, and remove swap from /etc/fstab",
    command: "cat /proc/swaps",
    look(facts) {
      const text = facts.read("/proc/swaps");
      if (text === undefined) return ok("not in this kernel");
      const [head = "", ...devices] = text.split("\n");
      if (!/^Filename\s+Type\s+Size/.test(head)) return unknown("/proc/swaps is not understood");
      return okIf(devices.length === 0, devices.length === 0 ? "off" : `${devices.length} on`);
    },
  },
  {
    id: "ksm",
    severity: { development: "warn", production: "fail" },
    reason: "pages merged between guests are a side channel",
    remedy: "echo 2 > /sys/kernel/mm/ksm/run",
    command: `grep . ${ksm}/run ${ksm}/pages_shared`,
    look(facts) {
      const run = facts.read(`${ksm}/run`);
      if (run === undefined) return okIf(facts.list(ksm) === undefined, "not in this kernel");
      const shared = facts.read(`${ksm}/pages_shared`) ?? "";
      if (!/^[012]$/.test(run) || !/^\d{1,20}$/.test(shared)) return unknown(`${ksm} is not understood`);
      if (run === "1") return bad("pages are merged (run = 1)");
      // 0 stops the merging and leaves what was merged.
      return shared === "0" ? ok(`off (run = ${run})`) : bad(`${shared} pages are still merged`);
    },
  },
  {
    id: "core-dumps",
    severity: { development: "warn", production: "fail" },
    reason:
      "a core of a process of ours would hold a tenant's data; the launcher forbids it for VMMs, the host should for all",
    remedy: "sysctl -w 'kernel.core_pattern=|/bin/false'",
    command: "cat /proc/sys/kernel/core_pattern",
    look(facts) {
      const pattern = facts.read("/proc/sys/kernel/core_pattern");
      if (pattern === undefined) return ok("not in this kernel");
      if (!/^[\x20-\x7e]*$/.test(pattern)) return unknown("core_pattern is not text");
      const none = pattern === "" && facts.read("/proc/sys/kernel/core_uses_pid") === "0";
      return okIf(none || noCore.test(pattern), `core_pattern = ${pattern.slice(0, 100)}`);
    },
  },
  {
    id: "memory-ecc",
    severity: { production: "warn" },
    reason: "flipping bits of a neighbour's memory (Rowhammer) is harder where the memory corrects errors",
    remedy: "use memory with ECC and target row refresh; ask the maker or whoever runs the machine",
    command: `ls -d ${controllers}/mc*`,
    look(facts) {
      const found = (facts.list(controllers) ?? []).filter((name) => /^mc\d{1,3}$/.test(name));
      if (found.length > 0) return ok(`${found.length} memory controllers with error correction`);
      return unknown("the kernel knows of no memory with error correction, as in every virtual machine");
    },
  },
];
