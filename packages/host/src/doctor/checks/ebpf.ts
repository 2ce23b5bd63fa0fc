import { type Check, notApplicable, ok, okIf } from "../check.ts";
import type { HostFacts } from "../facts.ts";
import { isAtLeast, kernelVersion } from "./kernel.ts";

const unprivileged = "/proc/sys/kernel/unprivileged_bpf_disabled";
const jit = "/proc/sys/net/core/bpf_jit_enable";
const harden = "/proc/sys/net/core/bpf_jit_harden";

/** A setting of one digit. @throws Error for anything else */
function digit(facts: HostFacts, path: string): number | undefined {
  const text = facts.read(path);
  if (text === undefined) return undefined;
  if (!/^[0-2]$/.test(text)) throw new Error(`${path} is not understood`);
  return Number(text);
}

/** The network's policy will be eBPF programs of ours; until then only what others could do with eBPF matters. */
export const ebpfChecks: readonly Check[] = [
  {
    id: "bpf-unprivileged",
    severity: { production: "fail" },
    reason: "eBPF for everybody has been a way into the kernel, and into other guests' memory through the processor",
    remedy: "sysctl -w kernel.unprivileged_bpf_disabled=1",
    command: `cat ${unprivileged}`,
    look(facts) {
      const value = digit(facts, unprivileged);
      if (value === undefined) return notApplicable("this kernel has no eBPF");
      return okIf(value !== 0, value === 0 ? "everybody may load programs" : "only root loads programs");
    },
  },
  {
    id: "bpf-jit",
    severity: { production: "warn" },
    reason: "an interpreter of eBPF in the kernel is slow, and a help in attacks through the processor",
    remedy: "sysctl -w net.core.bpf_jit_enable=1",
    command: `cat ${jit}`,
    look(facts) {
      const value = digit(facts, jit);
      if (value === undefined) return notApplicable("this kernel has no compiler for eBPF");
      return okIf(value === 1, value === 1 ? "programs are compiled" : `bpf_jit_enable = ${value}`);
    },
  },
  {
    id: "bpf-jit-harden",
    severity: { production: "warn" },
    reason: "constants of a program that lie readable in kernel memory help to take the kernel over",
    remedy: "sysctl -w net.core.bpf_jit_harden=1",
    command: `cat ${harden}`,
    look(facts) {
      const value = digit(facts, harden);
      if (value === undefined) return notApplicable("this kernel has no compiler for eBPF");
      return okIf(value > 0, `bpf_jit_harden = ${value}`);
    },
  },
  {
    id: "bpf-btf",
    severity: { production: "warn" },
    reason: "the programs that will hold a network policy are fitted to the kernel by its type information",
    remedy: "use a kernel with CONFIG_DEBUG_INFO_BTF",
    command: "ls -l /sys/kernel/btf/vmlinux",
    look(facts) {
      const there = facts.stat("/sys/kernel/btf/vmlinux")?.kind === "file";
      return okIf(there, there ? "/sys/kernel/btf/vmlinux" : "this kernel does not describe its types");
    },
  },
  {
    id: "bpf-tcx",
    severity: { production: "warn" },
    reason: "from 6.6 on a kernel attaches programs to an interface in a way that others can't undo by accident",
    remedy: "use a kernel 6.6 or newer; on an older one the network will use clsact",
    command: "uname -r",
    look(facts) {
      const version = kernelVersion(facts);
      return isAtLeast(version, 6, 6) ? ok(`TCX (${version.text})`) : okIf(false, `clsact only (${version.text})`);
    },
  },
];
