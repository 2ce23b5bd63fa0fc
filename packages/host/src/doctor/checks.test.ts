import { type DoctorCheckId, type DoctorResult, doctorCheckIds } from "@exai/api/host";
import { outputBytes } from "@exai/node";
import { describe, expect, it } from "vitest";
import { HostError } from "../errors.ts";
import { type Changes, FakeHost, goodContext, manifest, useChecks } from "../testing/doctor-host.fixture.ts";
import { allChecks } from "./checks.ts";
import type { DoctorContext } from "./context.ts";

const look = useChecks();

it("there is one check for each id, and no other", () => {
  expect(allChecks(goodContext("/images")).map(({ id }) => id)).toEqual([...doctorCheckIds]);
});

it("a host that is as it should be has no complaint, and what can't be looked at is not called ok", async () => {
  const host = new FakeHost();
  const found = await Promise.all(doctorCheckIds.map((id) => look(id, host)));
  expect(found.filter(({ status }) => status !== "ok").map(({ id, status }) => [id, status])).toEqual(
    [
      ...[
        "jailer",
        "vmm-probe",
        "vmm-seccomp",
        "vmm-uid",
        "vmm-rights",
        "vmm-limits",
        "vmm-cgroup",
        "metadata-address",
      ].map((id) => [id, "not-applicable"] as const),
      ["bpf-tcx", "warn"], // the good host's kernel is Debian's 6.1
    ].sort((a, b) => doctorCheckIds.indexOf(a[0] as DoctorCheckId) - doctorCheckIds.indexOf(b[0] as DoctorCheckId)),
  );
});

const holes = "/sys/devices/system/cpu/vulnerabilities";
const cpuinfo = (change: (text: string) => string): Changes["files"] => ({
  "/proc/cpuinfo": change(new FakeHost().files.get("/proc/cpuinfo") ?? ""),
});

/** What a file says, what the check makes of it, and in which words. */
const cases: readonly [DoctorCheckId, Changes["files"], DoctorResult["status"], RegExp][] = [
  ["memory", { "/proc/meminfo": "MemTotal: 1000000 kB\n" }, "warn", /977 MiB/],
  ["memory", { "/proc/meminfo": "MemTotal: lots\n" }, "unknown", /does not say/],
  ["mke2fs", { "/usr/sbin/mke2fs": undefined }, "fail", /not installed/],
  ["namespaces", { "/proc/self/ns/net": undefined }, "fail", /missing: net/],
  ["uid-range", { "/etc/passwd": "root:x:0:0::/:/bin/sh\nx:x:1879048200:1:::\n" }, "fail", /1 others/],
  ["uid-range", { "/etc/subuid": "x:1879000000:65536\n" }, "fail", /1 others/],
  ["uid-range", { "/etc/subgid": "x:1879000000:65536\n" }, "fail", /1 others/],
  ["uid-range", { "/etc/passwd": "root:x:0:0::/:/bin/sh\n+@admins\n", "/etc/subuid": undefined }, "ok", /nobody else/],
  ["uid-range", { "/etc/passwd": "root:x:0:0::/:/bin/sh\nx:x:many:1:::\n" }, "unknown", /not understood/],
  ["uid-range", { "/etc/passwd": "" }, "unknown", /not understood/],
  [
    "open-files",
    { "/proc/self/limits": "Max open files            1024                 1024                 files" },
    "warn",
    /1024 for a process/,
  ],
  ["open-files", { "/proc/sys/fs/file-max": "1000" }, "warn", /1000 for all/],
  ["open-files", { "/proc/self/limits": "Max open files many\n" }, "unknown", /does not tell/],
  ["cgroup2", { "/sys/fs/cgroup/cgroup.controllers": undefined }, "fail", /not mounted/],
  [
    "cgroup2",
    { "/sys/fs/cgroup/cgroup.controllers": undefined, "/sys/fs/cgroup/unified/cgroup.controllers": "\n" },
    "fail",
    /unified lacks cpu, memory, pids/,
  ],
  ["cgroup2", { "/sys/fs/cgroup/cgroup.controllers": "cpu;rm\n" }, "unknown", /not understood/],
  ["cgroup-cpuset", { "/sys/fs/cgroup/cgroup.controllers": "cpu io memory pids\n" }, "fail", /no cpuset/],
  ["host-kernel", { "/proc/sys/kernel/osrelease": "4.19.0-27-amd64\n" }, "fail", /4\.19/],
  ["host-kernel", { "/proc/sys/kernel/osrelease": "5.10.0-1\n" }, "ok", /5\.10/],
  ["host-kernel", { "/proc/sys/kernel/osrelease": "six\n" }, "unknown", /does not tell/],
  ["host-kernel-tested", { "/proc/sys/kernel/osrelease": "6.18.44\n" }, "warn", /not among those/],
  [
    "device-mapper",
    { "/proc/misc": "232 kvm\n", "/sys/module/dm_crypt/refcnt": undefined },
    "warn",
    /no device-mapper and no dm-crypt/,
  ],
  [
    "device-mapper",
    {
      "/proc/misc": "232 kvm\n",
      "/sys/module/dm_crypt/refcnt": undefined,
      "/lib/modules/6.1.0-32-amd64/kernel/drivers/md/dm-mod.ko": "",
      "/lib/modules/6.1.0-32-amd64/kernel/drivers/md/dm-crypt.ko.xz": "",
    },
    "ok",
    /can be loaded/,
  ],
  [
    "device-mapper",
    {
      "/sys/module/dm_crypt/refcnt": undefined,
      "/lib/modules/6.1.0-32-amd64/modules.builtin": "kernel/drivers/md/dm-crypt.ko\n",
    },
    "ok",
    /can be loaded/,
  ],
  ["cpu-vendor", cpuinfo((text) => text.replaceAll("AuthenticAMD", "HygonGenuine")), "fail", /Hygon/],
  [
    "cpu-vendor",
    cpuinfo((text) => text.replace("AuthenticAMD", "GenuineIntel")),
    "fail",
    /GenuineIntel and AuthenticAMD/,
  ],
  ["cpu-vendor", { "/proc/cpuinfo": "hello" }, "unknown", /names no vendor_id/],
  ["cpu-flags", cpuinfo((text) => text.replaceAll(" svm", "").replaceAll(" npt", "")), "fail", /svm, npt/],
  ["cpu-flags", cpuinfo((text) => text.replace(" rdrand", "")), "fail", /rdrand/],
  ["cpu-flags", cpuinfo((text) => text.replaceAll("AuthenticAMD", "GenuineIntel")), "fail", /vmx, ept/],
  [
    "cpu-flags",
    cpuinfo((text) =>
      text.replaceAll("AuthenticAMD", "GenuineIntel").replaceAll("svm", "vmx").replaceAll("npt", "ept"),
    ),
    "ok",
    /vmx, ept/,
  ],
  ["bare-metal", cpuinfo((text) => text.replaceAll("flags\t\t:", "flags\t\t: hypervisor")), "warn", /virtual machine/],
  ["microcode", { [`${holes}/old_microcode`]: "Vulnerable\n" }, "fail", /is old/],
  ["microcode", { [`${holes}/old_microcode`]: "Not affected\n" }, "ok", /0xa0011d5, which the kernel holds to be new/],
  ["microcode", { [`${holes}/old_microcode`]: "Unknown\n" }, "unknown", /can't tell/],
  [
    "microcode",
    { [`${holes}/spec_rstack_overflow`]: "Vulnerable: Safe RET, no microcode\n" },
    "fail",
    /lack microcode: spec_rstack_overflow/,
  ],
  ["microcode", cpuinfo((text) => text.replace("0xa0011d5", "0xa0011ce")), "fail", /differ: 0xa0011ce and 0xa0011d5/],
  ["microcode", cpuinfo((text) => text.replaceAll("0xa0011d5", "new")), "unknown", /not a number/],
  ["mitigations", { [`${holes}/spec_store_bypass`]: "Vulnerable\n" }, "fail", /vulnerable: spec_store_bypass/],
  ["mitigations", { [`${holes}/mds`]: "Mitigation: Clear CPU buffers; SMT vulnerable\n" }, "fail", /mds/],
  ["mitigations", { [`${holes}/itlb_multihit`]: "KVM: Mitigation: Split huge pages\n" }, "ok", /none open/],
  [
    "mitigations",
    { [`${holes}/mmio_stale_data`]: "Unknown: No mitigations\n" },
    "unknown",
    /does not tell of mmio_stale_data/,
  ],
  [
    "smt",
    { "/sys/devices/system/cpu/smt/active": "1\n", "/sys/devices/system/cpu/smt/control": "on\n" },
    "fail",
    /two threads/,
  ],
  ["smt", { "/sys/devices/system/cpu/smt/control": "on\n" }, "ok", /\(on\)/],
  ["smt", { "/sys/devices/system/cpu/smt/active": undefined }, "unknown", /does not tell/],
  [
    "swap",
    { "/proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sda2 partition 999420 0 -2\n" },
    "fail",
    /1 on/,
  ],
  ["swap", { "/proc/swaps": undefined }, "ok", /not in this kernel/],
  ["ksm", { "/sys/kernel/mm/ksm/run": "1\n" }, "fail", /merged/],
  ["ksm", { "/sys/kernel/mm/ksm/pages_shared": "12\n" }, "fail", /12 pages are still merged/],
  ["ksm", { "/sys/kernel/mm/ksm/run": "2\n" }, "ok", /run = 2/],
  [
    "ksm",
    { "/sys/kernel/mm/ksm/run": undefined, "/sys/kernel/mm/ksm/pages_shared": undefined },
    "ok",
    /not in this kernel/,
  ],
  ["core-dumps", { "/proc/sys/kernel/core_pattern": "core\n" }, "fail", /core_pattern = core/],
  ["core-dumps", { "/proc/sys/kernel/core_pattern": "|/bin/falsehood\n" }, "fail", /falsehood/],
  ["core-dumps", { "/proc/sys/kernel/core_pattern": "|/usr/share/apport/apport %p\n" }, "fail", /apport/],
  [
    "core-dumps",
    { "/proc/sys/kernel/core_pattern": "\n", "/proc/sys/kernel/core_uses_pid": "0\n" },
    "ok",
    /core_pattern =/,
  ],
  [
    "core-dumps",
    { "/proc/sys/kernel/core_pattern": "\n", "/proc/sys/kernel/core_uses_pid": "1\n" },
    "fail",
    /core_pattern =/,
  ],
  ["core-dumps", { "/proc/sys/kernel/core_pattern": "\x1b[2J" }, "unknown", /not text/],
  ["memory-ecc", { "/sys/devices/system/edac/mc/mc0/mc_name": undefined }, "unknown", /knows of no memory/],
  [
    "kvm-nx-huge-pages",
    { [`${holes}/itlb_multihit`]: "KVM: Mitigation: Split huge pages\n" },
    "fail",
    /nx_huge_pages = N/,
  ],
  [
    "kvm-nx-huge-pages",
    {
      [`${holes}/itlb_multihit`]: "KVM: Mitigation: Split huge pages\n",
      "/sys/module/kvm/parameters/nx_huge_pages": "Y\n",
    },
    "ok",
    /= Y/,
  ],
  [
    "kvm-nx-huge-pages",
    { [`${holes}/itlb_multihit`]: undefined, "/sys/module/kvm/parameters/nx_huge_pages": undefined },
    "unknown",
    /not loaded/,
  ],
  [
    "kvm-nx-huge-pages",
    { [`${holes}/itlb_multihit`]: undefined, "/sys/module/kvm/parameters/nx_huge_pages": "?" },
    "unknown",
    /not understood/,
  ],
  ["kvm-nested", { "/sys/module/kvm_amd/parameters/nested": "1\n" }, "warn", /guests could run guests/],
  ["kvm-nested", { "/sys/module/kvm_amd/parameters/nested": undefined }, "not-applicable", /neither/],
  ["kvm-timer", { "/sys/module/kvm/parameters/min_timer_period_us": "50\n" }, "warn", /50 µs/],
  ["kvm-timer", { "/sys/module/kvm/parameters/min_timer_period_us": undefined }, "unknown", /not loaded/],
  ["kernel-console", { "/proc/sys/kernel/printk": "7\t4\t1\t7\n" }, "warn", /level 7/],
  ["kernel-log-rate", { "/proc/sys/kernel/printk_ratelimit": "0\n" }, "warn", /not limited/],
  ["clocksource", { "/sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n" }, "warn", /hpet/],
  ["entropy", { "/proc/sys/kernel/random/entropy_avail": "12\n" }, "fail", /12 bits/],
  ["hwrng", { "/sys/class/misc/hw_random/rng_current": "none\n" }, "ok", /rdrand/],
  [
    "hwrng",
    { "/sys/class/misc/hw_random/rng_current": undefined, ...cpuinfo((text) => text.replaceAll(" rdrand", "")) },
    "warn",
    /none/,
  ],
  ["bpf-unprivileged", { "/proc/sys/kernel/unprivileged_bpf_disabled": "0\n" }, "fail", /everybody/],
  ["bpf-unprivileged", { "/proc/sys/kernel/unprivileged_bpf_disabled": undefined }, "not-applicable", /no eBPF/],
  ["bpf-jit", { "/proc/sys/net/core/bpf_jit_enable": "0\n" }, "warn", /= 0/],
  ["bpf-jit", { "/proc/sys/net/core/bpf_jit_enable": undefined }, "not-applicable", /no compiler/],
  ["bpf-jit-harden", { "/proc/sys/net/core/bpf_jit_harden": "0\n" }, "warn", /= 0/],
  ["bpf-jit-harden", { "/proc/sys/net/core/bpf_jit_harden": undefined }, "not-applicable", /no compiler/],
  ["bpf-btf", { "/sys/kernel/btf/vmlinux": undefined }, "warn", /does not describe/],
  ["bpf-tcx", { "/proc/sys/kernel/osrelease": "6.6.1\n" }, "ok", /TCX/],
];

it.each(cases)("%s, when the host says %j, is %s", async (id, files, status, says) => {
  const found = await look(id, new FakeHost({ files: files ?? {} }));
  expect(found).toMatchObject({ status, found: expect.stringMatching(says) });
});

describe("what is no file", () => {
  const refuse = (): never => {
    throw new HostError("platform", "it is somebody else's");
  };
  it.each<[DoctorCheckId, Partial<DoctorContext>, DoctorResult["status"], RegExp]>([
    ["home", { requireOwnHome: refuse }, "fail", /somebody else's/],
    ["own-paths", { requireOwn: refuse }, "fail", /somebody else's/],
    [
      "own-paths",
      {
        requireOwn: () => {
          throw new Error("EIO");
        },
      },
      "unknown",
      /EIO/,
    ],
    [
      "kvm-guest",
      { probeKvm: async () => ({ works: false, reason: "it died" }) },
      "fail",
      /development only – it died/,
    ],
    ["kvm-guest", { probeKvm: async () => Promise.reject(new Error("no disk")) }, "unknown", /no disk/],
    [
      "cpu-floor",
      { hostFloor: async () => ({ enforced: false, why: "it needs 3 whole cores" }) },
      "warn",
      /^floor not enforced: it needs 3 whole cores$/,
    ],
    ["firecracker", { firecracker: undefined }, "fail", /no Firecracker in/],
    ["firecracker", { firecracker: "it is another program" }, "fail", /another program/],
    ["guest-kernel", { images: [] }, "fail", /no image with our kernel/],
    ["guest-kernel", { images: [{ name: "base", manifest: undefined }] }, "fail", /no image with our kernel/],
    [
      "guest-kernel",
      { images: [{ name: "stock", manifest: { ...manifest, kernelFlavor: "stock" } }] },
      "fail",
      /no image/,
    ],
    [
      "guest-kernel",
      {
        images: [
          { name: "stock", manifest: undefined },
          { name: "base", manifest },
        ],
      },
      "ok",
      /base with our kernel, SHA-256 abab.*not for production: stock/,
    ],
  ])("%s", async (id, context, status, says) => {
    expect(await look(id, new FakeHost(), context)).toMatchObject({ status, found: expect.stringMatching(says) });
  });

  it("a device that does not open, and a disk that is full", async () => {
    const host = Object.assign(new FakeHost(), { kvm: false, free: 2 ** 20 });
    expect(await look("kvm-device", host)).toMatchObject({ status: "fail" });
    expect(await look("kvm-device", host, {}, "development")).toMatchObject({ status: "warn" });
    expect(await look("disk", host)).toMatchObject({ status: "warn", found: "1.0 MiB free at /" });
  });

  it("a clock that nobody keeps right, by the kernel's own word", async () => {
    const clock = (says: string | undefined, files: Changes["files"] = {}) =>
      look("time-sync", new FakeHost({ programs: { "/usr/bin/perl": says }, files }));
    expect(await clock("5")).toMatchObject({ status: "fail" });
    expect(await clock("5", { "/run/ntpd.pid": "7" })).toMatchObject({
      status: "fail",
      found: expect.stringMatching(/right \(ntpd\)/),
    });
    expect(await clock("0", { "/run/systemd/timesync/synchronized": "" })).toMatchObject({
      found: expect.stringMatching(/timesyncd/),
    });
    for (const says of [undefined, "", "-1", "55"]) expect(await clock(says)).toMatchObject({ status: "unknown" });
  });

  it("a jailer is told by its digest, and never executed", async () => {
    const digest = (sha256: string) =>
      look("jailer", Object.assign(new FakeHost(), { digests: { "/usr/local/bin/jailer": sha256 } }));
    const known = "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5";
    expect(await digest(known)).toMatchObject({
      found: expect.stringMatching(/jailer is 1\.12\.1, SHA-256 8662.*; it is not used/),
    });
    expect(await digest("00")).toMatchObject({
      status: "not-applicable",
      found: expect.stringMatching(/of a version not known here/),
    });
  });

  it("an output of a VMM that grew beyond its bound", async () => {
    const host = new FakeHost();
    host.sizes.set("/run/exai/aaaaaaaa/t/t1/vm/w1/console.log", outputBytes.console);
    host.sizes.set("/var/lib/exai/vms/w1/firecracker.log", 128 << 10);
    expect(await look("serial-console", host)).toMatchObject({ status: "ok" });
    expect(await look("vmm-logs", host)).toMatchObject({ status: "ok" });
    host.sizes.set("/run/exai/aaaaaaaa/t/t1/vm/w1/console.log.1", 1);
    host.sizes.set("/var/lib/exai/vms/w1/firecracker.log.1", 1);
    expect(await look("serial-console", host)).toMatchObject({
      status: "fail",
      found: expect.stringMatching(/^1 consoles/),
    });
    expect(await look("vmm-logs", host)).toMatchObject({ status: "fail", found: expect.stringMatching(/^1 logs/) });
  });
});
