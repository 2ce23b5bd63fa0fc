import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DoctorCheckId, DoctorMode, DoctorResult, ImageManifest } from "@exai/api/host";
import { afterAll, beforeAll } from "vitest";
import { runCheck } from "../doctor/check.ts";
import { allChecks } from "../doctor/checks.ts";
import type { DoctorContext } from "../doctor/context.ts";
import type { FileFacts, HostFacts } from "../doctor/facts.ts";

/** A host that is what its files say. */
export class FakeHost implements HostFacts {
  readonly files: Map<string, string>;
  readonly links: Map<string, string>;
  readonly programs: Map<string, string>;
  readonly sizes = new Map<string, number>();
  readonly asked = new Set<string>();
  digests: Readonly<Record<string, string>> = {};
  free = 100 * 2 ** 30;
  kvm = true;

  constructor(changes: Changes = {}) {
    const { links = {}, programs = {}, files = {} } = changes;
    this.files = merged(goodFiles, files);
    this.links = merged({}, links);
    this.programs = merged(goodPrograms, programs);
  }

  read(path: string): string | undefined {
    this.asked.add(path);
    return this.files.get(path)?.trim();
  }
  list(path: string): string[] | undefined {
    const paths = [...this.files.keys(), ...this.links.keys(), ...this.sizes.keys()];
    const below = paths.filter((each) => each.startsWith(`${path}/`));
    const names = below.map((each) => each.slice(path.length + 1).split("/")[0] ?? "");
    return below.length === 0 ? undefined : [...new Set(names)];
  }
  link(path: string): string | undefined {
    return this.links.get(path);
  }
  stat(path: string): FileFacts | undefined {
    const sizeBytes = this.sizes.get(path) ?? this.files.get(path)?.length;
    if (sizeBytes !== undefined) return { kind: "file", uid: 0, mode: 0o644, sizeBytes };
    return this.list(path) === undefined ? undefined : { kind: "folder", uid: 0, mode: 0o755, sizeBytes: 0 };
  }
  freeBytes(): number {
    return this.free;
  }
  opens(): boolean {
    return this.kvm;
  }
  async digest(path: string): Promise<string | undefined> {
    return this.digests[path];
  }
  async run(file: string): Promise<string> {
    this.asked.add(file);
    const says = this.programs.get(file);
    if (says === undefined) throw new Error(`${file} can't be run`);
    return says;
  }
}

/** Undefined takes a file of the good host away. */
type Texts = Readonly<Record<string, string | undefined>>;
export interface Changes {
  readonly files?: Texts;
  readonly links?: Texts;
  readonly programs?: Texts;
}

function merged(good: Texts, changes: Texts): Map<string, string> {
  const all = Object.entries({ ...good, ...changes });
  return new Map(all.flatMap(([key, value]) => (value === undefined ? [] : [[key, value] as const])));
}

const holes = "/sys/devices/system/cpu/vulnerabilities";

const flags =
  "fpu vme de pse tsc msr pae mce cx8 apic sep nx mmxext lm constant_tsc nonstop_tsc pclmulqdq ssse3 cx16 aes xsave avx rdrand lahf_lm svm avx2 smep rdseed smap npt lbrv nrip_save";

/** Texts as Debian 12 with kernel 6.1 has them on a machine of its own. */
export const goodFiles: Readonly<Record<string, string>> = {
  "/proc/cpuinfo": `processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model name\t: AMD EPYC 7763 64-Core Processor
microcode\t: 0xa0011d5
flags\t\t: ${flags}
bugs\t\t: sysret_ss_attrs spectre_v1 spectre_v2 spec_store_bypass srso

processor\t: 1
vendor_id\t: AuthenticAMD
microcode\t: 0xa0011d5
flags\t\t: ${flags}
`,
  [`${holes}/itlb_multihit`]: "Not affected\n",
  [`${holes}/l1tf`]: "Not affected\n",
  [`${holes}/meltdown`]: "Not affected\n",
  [`${holes}/spec_rstack_overflow`]: "Mitigation: safe RET\n",
  [`${holes}/spec_store_bypass`]: "Mitigation: Speculative Store Bypass disabled via prctl\n",
  [`${holes}/spectre_v1`]: "Mitigation: usercopy/swapgs barriers and __user pointer sanitization\n",
  [`${holes}/spectre_v2`]:
    "Mitigation: Retpolines; IBPB: conditional; IBRS_FW; STIBP: disabled; RSB filling; PBRSB-eIBRS: Not affected\n",
  "/sys/devices/system/cpu/smt/active": "0\n",
  "/sys/devices/system/cpu/smt/control": "forceoff\n",
  "/proc/meminfo": "MemTotal:       65806948 kB\nMemFree:        60102432 kB\n",
  "/proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
  "/sys/kernel/mm/ksm/run": "0\n",
  "/sys/kernel/mm/ksm/pages_shared": "0\n",
  "/proc/sys/kernel/core_pattern": "|/bin/false\n",
  "/sys/devices/system/edac/mc/mc0/mc_name": "F19h\n",
  "/proc/sys/kernel/osrelease": "6.1.0-32-amd64\n",
  "/proc/misc": "235 autofs\n236 device-mapper\n232 kvm\n",
  "/sys/module/dm_crypt/refcnt": "0\n",
  "/proc/sys/kernel/printk": "1\t4\t1\t7\n",
  "/proc/sys/kernel/printk_ratelimit": "5\n",
  "/proc/sys/kernel/printk_ratelimit_burst": "10\n",
  "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
  "/proc/self/limits":
    "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 1048576              files     \n",
  "/proc/sys/fs/file-max": "9223372036854775807\n",
  "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
  "/etc/subuid": "deploy:100000:65536\n",
  "/etc/subgid": "deploy:100000:65536\n",
  "/sys/module/kvm/parameters/nx_huge_pages": "N\n",
  "/sys/module/kvm/parameters/min_timer_period_us": "200\n",
  "/sys/module/kvm_amd/parameters/nested": "0\n",
  "/sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
  "/proc/sys/kernel/random/entropy_avail": "256\n",
  "/sys/class/misc/hw_random/rng_current": "tpm-rng-0\n",
  "/proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
  "/proc/sys/net/core/bpf_jit_enable": "1\n",
  "/proc/sys/net/core/bpf_jit_harden": "2\n",
  "/sys/kernel/btf/vmlinux": "BTF",
  "/usr/sbin/mke2fs": "ELF",
  ...Object.fromEntries(
    ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"].map((kind) => [`/proc/self/ns/${kind}`, ""]),
  ),
};

/** The program itself, so that what must be there of a stack is there. */
const there = process.execPath;

const goodPrograms: Readonly<Record<string, string>> = {
  "/usr/sbin/mke2fs": "mke2fs 1.47.0 (5-Feb-2023)\n\tUsing EXT2FS Library version 1.47.0",
  "/usr/bin/perl": "0",
  [there]: "version 1",
};

/** Of a process with a VM's uid; its keeper, and what a VMM is limited to, beside it. */
export function vmmFiles(pid: number, uid: number): Required<Changes> {
  const ids = Array(4).fill(uid).join("\t");
  const none = "0".repeat(16);
  const caps = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map((name) => `${name}:\t${none}\n`).join("");
  const status = `Name:\tfirecracker\nState:\tS (sleeping)\nUid:\t${ids}\nGid:\t${ids}\nGroups:\t \n${caps}NoNewPrivs:\t1\nSeccomp:\t2\n`;
  const cgroup = `/exai-aaaaaaaa/vm${pid}`;
  return {
    files: {
      [`/proc/${pid}/status`]: status,
      [`/proc/${pid}/task/${pid}/status`]: status,
      [`/proc/${pid}/task/${pid + 1}/status`]: status,
      [`/proc/${pid}/task/${pid + 2}/status`]: status,
      [`/proc/${pid}/limits`]:
        "Limit                     Soft Limit           Hard Limit           Units     \nMax file size             268435456            268435456            bytes     \nMax core file size        0                    0                    bytes     \nMax open files            1024                 1024                 files     \n",
      [`/proc/${pid}/cgroup`]: `0::${cgroup}\n`,
      [`/sys/fs/cgroup${cgroup}/memory.max`]: "402653184\n",
      [`/sys/fs/cgroup${cgroup}/cpu.max`]: "150000 100000\n",
      [`/sys/fs/cgroup${cgroup}/pids.max`]: "129\n",
      [`/proc/${pid}/net/dev`]: "Inter-|   Receive\n face |bytes    packets\n    lo:       0       0    0\n",
      [`/proc/${pid + 1000}/status`]: status.replace("firecracker", "exai-launcher"),
    },
    links: {
      [`/proc/${pid}/exe`]: "/usr/local/bin/firecracker",
      [`/proc/${pid}/ns/net`]: `net:[40265${pid}]`,
      "/proc/self/ns/net": "net:[4026531840]",
      [`/proc/${pid + 1000}/exe`]: "/opt/exai/exai-launcher",
    },
    programs: {},
  };
}

const sha256 = "ab".repeat(32);
const blob = { sha256, sizeBytes: 1 };
export const manifest: ImageManifest = {
  schema: "exai.image/v1",
  name: "base",
  architecture: "x86_64",
  kernel: blob,
  kernelFlavor: "exai",
  initramfs: blob,
  rootfs: blob,
  rootfsFormat: "erofs",
  commandLine: "",
};

/** A stack that could start on the good host. `imageStore` must have an index. */
export const goodContext = (imageStore: string): DoctorContext => ({
  home: "/var/lib/exai",
  imageStore,
  system: { platform: "linux", arch: "x64", uid: 0, qemu: there, flock: there, launcher: there },
  firecracker: { path: "/usr/local/bin/firecracker", version: "1.12.1", sha256 },
  images: [{ name: "base", manifest }],
  executables: ["/usr/local/bin/firecracker"],
  requireOwn: () => undefined,
  requireOwnHome: (path) => path,
  settleMs: 0,
  probeVmm: undefined,
  hostFloor: async () => ({ enforced: true, cores: 6, about: "6 cores for virtual CPUs, 6 of them free" }),
  probeKvm: async () => ({ works: true, reason: "a guest booted to 64-bit user space under KVM" }),
});

/** Runs one check of a fake host; call it once in a file. */
export function useChecks() {
  let imageStore: string;
  beforeAll(() => {
    imageStore = mkdtempSync(join(tmpdir(), "exai-images-"));
    writeFileSync(join(imageStore, "index.json"), "{}");
  });
  afterAll(() => rmSync(imageStore, { recursive: true }));
  return async (
    id: DoctorCheckId,
    host: FakeHost,
    context: Partial<DoctorContext> = {},
    mode: DoctorMode = "production",
  ): Promise<DoctorResult> => {
    const check = allChecks({ ...goodContext(imageStore), ...context }).find((each) => each.id === id);
    const result = check && (await runCheck(check, mode, host));
    if (result === undefined) throw new Error(`there is no check ${id}`);
    return result;
  };
}
