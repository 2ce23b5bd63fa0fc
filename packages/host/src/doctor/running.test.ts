import { describe, expect, it } from "vitest";
import { type Changes, FakeHost, useChecks, vmmFiles } from "../testing/doctor-host.fixture.ts";
import type { DoctorContext } from "./context.ts";

const look = useChecks();

describe("a VMM that runs", () => {
  const uid = 0x7000_0000 + 1000;
  const one = vmmFiles(100, uid);
  const status = one.files["/proc/100/status"] ?? "";
  const cgroup = "/sys/fs/cgroup/exai-aaaaaaaa/vm100";
  const all = ["vmm-seccomp", "vmm-uid", "vmm-rights", "vmm-limits", "vmm-cgroup", "metadata-address"] as const;

  it.each(all)("in its jail: %s", async (id) => {
    const two = vmmFiles(300, uid + 1);
    const host = new FakeHost({ files: { ...one.files, ...two.files }, links: { ...one.links, ...two.links } });
    expect(await look(id, host)).toMatchObject({ status: "ok", found: expect.stringMatching(/^2 that run: /) });
  });

  it.each<[(typeof all)[number], Changes["files"], RegExp]>([
    [
      "vmm-seccomp",
      { "/proc/100/task/101/status": status.replace("Seccomp:\t2", "Seccomp:\t0") },
      /process 100 has 1 threads/,
    ],
    ["vmm-seccomp", { "/proc/100/task/101/status": "" }, /1 threads/],
    ["vmm-uid", { "/proc/100/status": status.replace(/^Gid:.*$/m, "Gid:\t0\t0\t0\t0") }, /other users or groups/],
    ["vmm-uid", { "/proc/100/status": status.replace(/^(Uid:\t\d+\t)\d+/m, "$10") }, /other users or groups/],
    ["vmm-rights", { "/proc/100/status": status.replace(/^(CapBnd:\t)0+/m, "$1000001ffffffffff") }, /capabilities/],
    ["vmm-rights", { "/proc/100/status": status.replace(/^CapEff:.*\n/m, "") }, /capabilities/],
    ["vmm-rights", { "/proc/100/status": status.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0") }, /gain rights/],
    ["vmm-rights", { "/proc/100/status": status.replace("Groups:\t", "Groups:\t0 27") }, /further groups/],
    ["vmm-limits", { "/proc/100/limits": "" }, /core/],
    [
      "vmm-limits",
      { "/proc/100/limits": one.files["/proc/100/limits"]?.replaceAll("268435456", "unlimited") },
      /any size/,
    ],
    ["vmm-limits", { "/proc/100/limits": one.files["/proc/100/limits"]?.replaceAll("1024 ", "4096 ") }, /1024 files/],
    ["vmm-cgroup", { [`${cgroup}/memory.max`]: "max\n" }, /more memory/],
    ["vmm-cgroup", { [`${cgroup}/cpu.max`]: "max 100000\n" }, /more memory, processors/],
    ["vmm-cgroup", { [`${cgroup}/pids.max`]: undefined }, /more memory, processors/],
    ["vmm-cgroup", { "/proc/100/cgroup": "0::/../../etc\n" }, /no cgroup/],
    ["vmm-cgroup", { "/proc/100/cgroup": "4:memory:/x\n" }, /no cgroup/],
    ["metadata-address", { "/proc/100/net/dev": `${one.files["/proc/100/net/dev"]}  eth0: 1 2 3\n` }, /network card/],
    ["metadata-address", { "/proc/100/net/dev": "" }, /network card/],
  ])("%s sees that it is not, with %j", async (id, files, says) => {
    const host = new FakeHost({ files: { ...one.files, ...files }, links: one.links });
    expect(await look(id, host)).toMatchObject({ status: "fail", found: expect.stringMatching(says) });
  });

  it("in the host's network is seen", async () => {
    const links = { ...one.links, "/proc/100/ns/net": "net:[4026531840]" };
    expect(await look("metadata-address", new FakeHost({ ...one, links }))).toMatchObject({
      found: expect.stringMatching(/host's network/),
    });
  });

  it("shares its uid with nobody, whatever the other program is", async () => {
    const other = vmmFiles(300, uid);
    const links = { ...one.links, ...other.links, "/proc/300/exe": "/bin/sh" };
    const host = new FakeHost({ files: { ...one.files, ...other.files }, links });
    expect(await look("vmm-uid", host)).toMatchObject({
      status: "fail",
      found: "process 100 shares its uid with another program; process 300 shares its uid with another program",
    });
  });

  it("that went while it was looked at is no fault, nor is one that is dead", async () => {
    const links = { ...one.links, "/proc/100/exe": undefined };
    expect(await look("vmm-seccomp", new FakeHost({ ...one, links }))).toMatchObject({ status: "not-applicable" });
    const files = { ...one.files, "/proc/100/status": status.replace("S (sleeping)", "Z (zombie)") };
    expect(await look("vmm-seccomp", new FakeHost({ ...one, files }))).toMatchObject({ status: "not-applicable" });
  });

  it("may only be looked at by root: who may not, does not know", async () => {
    const host = new FakeHost(one);
    host.link = () => {
      throw new Error("EACCES: permission denied");
    };
    expect(await look("vmm-seccomp", host)).toMatchObject({
      status: "unknown",
      found: expect.stringMatching(/permission denied/),
    });
  });
});

describe("one that was started to be looked at", () => {
  const uid = 0x7000_0000 + 1000;
  const one = vmmFiles(100, uid);
  const probe = (host: FakeHost, context: Partial<DoctorContext> = {}) =>
    look("vmm-probe", host, { probeVmm: (see) => see(uid), ...context });

  it("is in its jail", async () => {
    expect(await probe(new FakeHost(one))).toMatchObject({ status: "ok" });
  });

  it("is not, or does not run: each fault is told, and no other VMM's", async () => {
    const other = vmmFiles(300, uid + 1);
    const files = {
      ...one.files,
      ...other.files,
      "/proc/100/limits": "",
      "/proc/300/cgroup": "",
      "/proc/100/cgroup": "",
    };
    const found = await probe(new FakeHost({ files, links: { ...one.links, ...other.links } }));
    expect(found).toMatchObject({
      status: "fail",
      found: "process 100 may leave a core; process 100 has no cgroup of its own",
    });
    expect(await probe(new FakeHost())).toMatchObject({ status: "fail", found: "it does not run" });
    const early = { ...one.files, "/proc/100/task/102/status": undefined };
    const host = new FakeHost({ files: early, links: one.links });
    expect(await probe(host)).toMatchObject({ status: "fail", found: "it runs no guest yet" });
  });

  it("is not started where that can't succeed", async () => {
    const probeVmm = () => Promise.reject(new Error("it was tried"));
    const lies = async () => ({ works: false, reason: "it lies" });
    for (const context of [{ probeVmm: undefined }, { probeVmm, probeKvm: lies }])
      expect(await probe(new FakeHost(), context)).toMatchObject({ status: "not-applicable" });
    expect(await probe(new FakeHost(), { probeVmm })).toMatchObject({ status: "unknown", found: "it was tried" });
  });
});
