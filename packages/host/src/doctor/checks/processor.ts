import { bad, type Check, ok, okIf, unknown } from "../check.ts";
import type { HostFacts } from "../facts.ts";

const cpuinfo = "/proc/cpuinfo";
const vulnerabilities = "/sys/devices/system/cpu/vulnerabilities";

/** What one name says in /proc/cpuinfo, once for each different value. @throws Error when it says nothing */
function processors(facts: HostFacts, name: string): string[] {
  const lines = (facts.read(cpuinfo) ?? "").split("\n").map((line) => line.split(/\s*:\s*/));
  const values = lines.filter(([key]) => key === name).map(([, value = ""]) => value.trim());
  if (values.length === 0) throw new Error(`${cpuinfo} names no ${name}`);
  return [...new Set(values)];
}

const flagsOf = (facts: HostFacts): ReadonlySet<string> => {
  // Of processors that differ, only what all of them have counts.
  const [first = "", ...others] = processors(facts, "flags");
  return new Set(first.split(" ").filter((flag) => others.every((each) => each.split(" ").includes(flag))));
};

const needed = ["lm", "nx", "cx16", "xsave", "rdrand", "aes"];
const vendors: Readonly<Record<string, readonly string[]>> = {
  GenuineIntel: ["vmx", "ept"],
  AuthenticAMD: ["svm", "npt"],
};

export const processorChecks: readonly Check[] = [
  {
    id: "cpu-vendor",
    severity: { production: "fail" },
    reason: "Firecracker's project tests its isolation on processors of Intel and AMD",
    remedy: "use a machine with a processor of Intel or AMD",
    command: `grep -m1 vendor_id ${cpuinfo}`,
    look(facts) {
      const found = processors(facts, "vendor_id");
      return okIf(found.length === 1 && Object.hasOwn(vendors, found[0] ?? ""), found.join(" and "));
    },
  },
  {
    id: "cpu-flags",
    severity: { production: "fail" },
    reason: "guests need hardware virtualisation with nested paging, and a host AES and random numbers in hardware",
    remedy: "enable virtualisation (VT-x, AMD-V) in the firmware, or use a newer machine",
    command: `grep -m1 -owE 'vmx|svm|ept|npt|${needed.join("|")}' ${cpuinfo} | sort -u`,
    look(facts) {
      const flags = flagsOf(facts);
      const vendor = vendors[processors(facts, "vendor_id")[0] ?? ""] ?? ["vmx", "ept"];
      const missing = [...vendor, ...needed].filter((each) => !flags.has(each));
      return missing.length === 0
        ? ok([...vendor, ...needed].join(", "))
        : bad(`not in the processor's flags: ${missing.join(", ")}`);
    },
  },
  {
    id: "bare-metal",
    severity: { production: "warn" },
    reason: "a host that is itself a virtual machine is slower, and whoever runs it sees every guest's memory",
    remedy: "use a machine of your own, or accept who runs this one as you accept its root",
    command: `grep -m1 -ow hypervisor ${cpuinfo}`,
    look: (facts) =>
      flagsOf(facts).has("hypervisor") ? bad("this host is a virtual machine itself") : ok("no hypervisor below"),
  },
  {
    id: "microcode",
    severity: { production: "fail" },
    reason: "mitigations of the processor's holes need its newest microcode",
    remedy: "install amd64-microcode or intel-microcode and the newest firmware, then boot; in a VM its host must",
    command: `grep -m1 microcode ${cpuinfo}; grep -H . ${vulnerabilities}/old_microcode; grep -il 'no microcode' ${vulnerabilities}/*`,
    look(facts) {
      const all = holes(facts);
      const lacking = all.filter(({ text }) => /no microcode/i.test(text));
      if (lacking.length > 0) return bad(`mitigations that lack microcode: ${names(lacking)}`);
      const unclear = all.filter(
        ({ text }) => !/^(Not affected$|(KVM: )?Mitigation: |(Processor v|V)ulnerable)/.test(text),
      );
      if (unclear.length > 0) return unknown(`the kernel does not tell of ${names(unclear)}`);
      const revisions = processors(facts, "microcode");
      if (!revisions.every((each) => /^0x[0-9a-f]+$/.test(each))) return unknown("the revision is not a number");
      if (revisions.length > 1) return bad(`processors differ: ${revisions.join(" and ")}`);
      const old = facts.read(`${vulnerabilities}/old_microcode`);
      if (old === undefined) return ok(`${revisions[0]}; no mitigation lacks any, but this kernel knows no newest one`);
      if (old === "Not affected") return ok(`${revisions[0]}, which the kernel holds to be new`);
      return /^Vulnerable/.test(old)
        ? bad(`${revisions[0]} is old`)
        : unknown("the kernel can't tell whether it is new");
    },
  },
  {
    id: "mitigations",
    severity: { production: "fail" },
    reason: "without them a guest may read its neighbours' and the host's memory through the processor",
    remedy: "boot without mitigations=off, with a current kernel and microcode; what stays is the processor's",
    command: `grep . ${vulnerabilities}/*`,
    look(facts) {
      const all = holes(facts);
      const open = all.filter(({ text }) => /vulnerable/i.test(text));
      if (open.length > 0) return bad(`vulnerable: ${names(open)}`);
      const unclear = all.filter(({ text }) => !/^(Not affected$|(KVM: )?Mitigation: )/.test(text));
      if (unclear.length > 0) return unknown(`the kernel does not tell of ${names(unclear)}`);
      return ok(`${all.length} known holes of processors, none open`);
    },
  },
  {
    id: "smt",
    severity: { production: "fail" },
    reason: "two guests on the threads of one core can read each other's secrets through what they share",
    remedy: "boot with nosmt=force, or switch it off in the firmware",
    command: "grep . /sys/devices/system/cpu/smt/active /sys/devices/system/cpu/smt/control",
    look(facts) {
      const active = facts.read("/sys/devices/system/cpu/smt/active");
      const control = facts.read("/sys/devices/system/cpu/smt/control");
      if (active === "1") return bad("two threads run on a core");
      if (active !== "0") return unknown("the kernel does not tell whether threads share a core");
      const known = ["on", "off", "forceoff", "notsupported", "notimplemented"].includes(control ?? "");
      return known ? ok(`one thread a core (${control})`) : unknown("the kernel does not tell what may be switched on");
    },
  },
];

interface Hole {
  readonly name: string;
  readonly text: string;
}

/** @throws Error when the kernel lists none */
function holes(facts: HostFacts): Hole[] {
  const found = (facts.list(vulnerabilities) ?? [])
    .filter((name) => /^[a-z0-9_]{1,40}$/.test(name) && name !== "old_microcode")
    .map((name) => ({ name, text: facts.read(`${vulnerabilities}/${name}`) ?? "" }));
  if (found.length === 0) throw new Error(`the kernel lists nothing in ${vulnerabilities}`);
  return found;
}

const names = (all: readonly Hole[]): string => all.map(({ name }) => name).join(", ");
