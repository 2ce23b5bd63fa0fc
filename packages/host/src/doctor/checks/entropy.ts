import { type Check, ok, okIf, unknown } from "../check.ts";

export const entropyChecks: readonly Check[] = [
  {
    id: "entropy",
    severity: { production: "fail" },
    reason: "keys that are made before the kernel has gathered randomness can be guessed",
    remedy: "wait until the machine has been up for a minute; give it a hardware random number generator",
    command: "cat /proc/sys/kernel/random/entropy_avail",
    look(facts) {
      const bits = facts.read("/proc/sys/kernel/random/entropy_avail") ?? "";
      if (!/^\d{1,6}$/.test(bits)) return unknown("the kernel does not tell how much it has");
      return okIf(Number(bits) >= 256, `${bits} bits`);
    },
  },
  {
    id: "hwrng",
    severity: { production: "warn" },
    reason: "guests are seeded from the host, whose own seed should come from hardware",
    remedy: "load the driver of the machine's random number generator, or give a VM a virtio-rng",
    command: "cat /sys/class/misc/hw_random/rng_current; grep -m1 -owE 'rdrand|rdseed' /proc/cpuinfo",
    look(facts) {
      const current = facts.read("/sys/class/misc/hw_random/rng_current") ?? "none";
      if (!/^[a-z][\w.-]{0,59}$/i.test(current)) return unknown("the kernel does not tell its generator");
      if (current !== "none") return ok(current);
      const flags = /^flags\s*:(.*)$/m.exec(facts.read("/proc/cpuinfo") ?? "")?.[1]?.split(" ") ?? [];
      return okIf(flags.includes("rdrand"), flags.includes("rdrand") ? "the processor's (rdrand)" : "none");
    },
  },
];
