import { join } from "node:path";
import { imageStorePaths } from "@exai/api/host";
import { kvmProbeArguments } from "@exai/machine";
import { bad, type Check, notApplicable, ok, okIf, unknown } from "../check.ts";
import type { DoctorContext } from "../context.ts";
import type { HostFacts } from "../facts.ts";
import { shellCommand } from "../shell-word.ts";

const parameters = "/sys/module/kvm/parameters";
const nested = ["kvm_intel", "kvm_amd"].map((name) => `/sys/module/${name}/parameters/nested`);
const multihit = "/sys/devices/system/cpu/vulnerabilities/itlb_multihit";

export const kvmChecks = (context: DoctorContext): Check[] => [
  {
    id: "kvm-device",
    severity: { development: "warn", production: "fail" },
    reason: "without KVM guests are emulated: slow, and not held to be a security boundary by QEMU",
    remedy: "load the kvm module, or give this machine nested virtualisation",
    command: "ls -l /dev/kvm",
    look: (facts) =>
      facts.opens("/dev/kvm")
        ? ok("/dev/kvm is there; the next check proves whether it works")
        : bad("/dev/kvm does not exist or may not be opened"),
  },
  {
    id: "kvm-guest",
    severity: { development: "warn", production: "fail" },
    reason: "a device that opens is no proof: only a guest that reaches 64-bit user space is",
    remedy:
      "enable virtualisation in the firmware, or use a host that is not itself a VM without nested virtualisation",
    command: probeCommand(context),
    async look() {
      const { works, reason } = await context.probeKvm();
      return works ? ok(reason) : bad(`emulation: development only – ${reason}`);
    },
  },
  {
    id: "kvm-nx-huge-pages",
    severity: { production: "fail" },
    reason: "on a processor with the iTLB multihit hole a guest can stop the host unless KVM splits its huge pages",
    remedy: "echo 'options kvm nx_huge_pages=auto' > /etc/modprobe.d/kvm.conf, and load kvm again",
    command: `grep . ${parameters}/nx_huge_pages ${multihit}`,
    look(facts) {
      if (facts.read(multihit) === "Not affected") return ok("the processor has no such hole");
      const value = facts.read(`${parameters}/nx_huge_pages`);
      if (value === undefined) return unknown("kvm is not loaded, or does not tell");
      if (!/^(Y|N|never)$/.test(value)) return unknown("kvm's nx_huge_pages is not understood");
      return okIf(value === "Y", `nx_huge_pages = ${value}`);
    },
  },
  {
    id: "kvm-nested",
    severity: { production: "warn" },
    reason: "code that lets guests run guests of their own is large, and none of ours needs it",
    remedy: "echo 'options kvm_intel nested=0' > /etc/modprobe.d/kvm-nested.conf (kvm_amd on AMD), and load it again",
    command: `grep . ${nested.join(" ")}`,
    look(facts) {
      const values = nested.map((path) => facts.read(path)).filter((each) => each !== undefined);
      if (values.length === 0) return notApplicable("neither kvm_intel nor kvm_amd is loaded");
      if (!values.every((each) => /^[01YN]$/.test(each))) return unknown("nested is not understood");
      const on = values.some((each) => each === "1" || each === "Y");
      return okIf(!on, on ? "guests could run guests" : "off");
    },
  },
  {
    id: "kvm-timer",
    severity: { production: "warn" },
    reason: "a guest makes the host work for each tick of its timers (in threads kvm-pit), so their rate is bounded",
    remedy: "echo 'options kvm min_timer_period_us=200' > /etc/modprobe.d/kvm-timer.conf, and load kvm again",
    command: `cat ${parameters}/min_timer_period_us`,
    look: (facts) => timer(facts),
  },
];

function timer(facts: HostFacts) {
  const text = facts.read(`${parameters}/min_timer_period_us`);
  if (text === undefined) return unknown("kvm is not loaded, or does not tell");
  if (!/^\d{1,9}$/.test(text)) return unknown("kvm's min_timer_period_us is not understood");
  return okIf(Number(text) >= 200, `at least ${text} µs between ticks`);
}

/** What the probe itself starts, for a person to see with their own eyes. */
function probeCommand({ images, imageStore, system }: DoctorContext): string {
  const signed = images.flatMap(({ manifest }) => manifest ?? []);
  const manifest = signed.find(({ kernelFlavor }) => kernelFlavor === "exai") ?? signed[0];
  if (manifest === undefined) return "ls -l /dev/kvm";
  const at = ({ sha256 }: { sha256: string }) => join(imageStore, imageStorePaths.blob(sha256));
  const { kernel, initramfs, kernelFlavor } = manifest;
  const boot = { kernel: at(kernel), initramfs: at(initramfs), acpi: kernelFlavor === "stock" };
  return `${shellCommand("timeout", "10", system.qemu, ...kvmProbeArguments(boot))}   # prints: exai-guest: probe ok`;
}
