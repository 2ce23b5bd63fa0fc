// nested-host: always
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type DoctorCheckId, type DoctorResult, doctorCheckIds, doctorReport } from "@exai/api/host";
import { planFirecracker, probeKvm } from "@exai/machine";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCheck } from "../../packages/host/src/doctor/check.ts";
import { allChecks } from "../../packages/host/src/doctor/checks.ts";
import { type DoctorContext, doctorContext } from "../../packages/host/src/doctor/context.ts";
import { examine, requireFit } from "../../packages/host/src/doctor/examine.ts";
import { thisHost } from "../../packages/host/src/doctor/facts.ts";
import { runningVmms } from "../../packages/host/src/doctor/running.ts";
import { uidRanges } from "../../packages/host/src/home/uid-range.ts";
import { firecrackerFolder, firecracker as pinned } from "../../tools/nested-host/firecracker.ts";
import { machineDriver } from "../support/machine-driver.ts";
import { releaseKeys } from "../vm/machine-images.ts";
import { bootFiles, imageStore, keptFolder } from "./where.ts";

/**
 * `exai doctor --production` on a host whose KVM works: what it says is compared with what the host says elsewhere, and
 * what can be changed is changed, so that the answer must change, too.
 */
const folder = mkdtempSync(join(tmpdir(), "exai-doctor-"));
let context: DoctorContext;

beforeAll(async () => {
  const firecracker = { path: join(firecrackerFolder(), "firecracker") };
  const made = await doctorContext({ home: join(folder, "home"), imageStore, firecracker });
  // Everything is emulated here, so a boot takes longer than it may take a host in use; it is tried once.
  const options = { imageStore, releaseKeys: releaseKeys(), memoryFile: join(folder, "kvm"), timeoutMs: 120_000 };
  context = { ...made, settleMs: 60_000, probeKvm: () => probeKvm(options) };
});
afterAll(() => rmSync(folder, { recursive: true }));

async function look(id: DoctorCheckId): Promise<DoctorResult> {
  const check = allChecks(context).find((each) => each.id === id);
  const found = check && (await runCheck(check, "production", thisHost));
  if (found === undefined) throw new Error(`there is no check ${id}`);
  return found;
}

/** Writes a file of the kernel's for the length of a step. */
async function during(path: string, text: string, step: () => Promise<void>): Promise<void> {
  const before = readFileSync(path, "utf8").trim();
  writeFileSync(path, text);
  try {
    await step();
  } finally {
    writeFileSync(path, before === "" ? "\n" : before);
  }
}

/** Whatever a microVM of a probe has on its host, beside what lies there of this suite's own. */
function named(): string[] {
  const there = (path: string) => (existsSync(path) ? readdirSync(path) : []);
  const processes = execFileSync("ps", ["-e", "-o", "comm="], { encoding: "utf8" }).split("\n");
  return [
    ...[...there("/run"), ...there("/sys/fs/cgroup")].filter((name) => name.startsWith("exai-")),
    ...["/run/exai", "/run/netns", "/var/lib/exai-uids"].flatMap(there),
    ...processes.filter((name) => /^(firecracker|exai-launcher)/.test(name)),
  ];
}
const before = new Set(named());
const leftovers = (): string[] => named().filter((name) => !before.has(name));

describe("the whole report", () => {
  let checks: DoctorResult[];
  beforeAll(async () => {
    const report = await examine("production", context);
    writeFileSync(join(keptFolder(), "doctor.json"), `${JSON.stringify(report, null, 2)}\n`);
    ({ checks } = doctorReport.parse(JSON.parse(JSON.stringify(report))));
  });
  const statusOf = (id: DoctorCheckId) => checks.find((each) => each.id === id)?.status;

  it("has an answer to every check", () => {
    expect(checks.map(({ id }) => id)).toEqual([...doctorCheckIds]);
  });

  it("finds real KVM, real Firecracker by its digest, cgroup v2 with cpuset, dm-crypt and our signed kernel", () => {
    for (const id of [
      ...(["kvm-device", "kvm-guest", "firecracker", "launcher", "own-paths", "uid-range"] as const),
      ...(["cgroup2", "cgroup-cpuset", "device-mapper", "guest-kernel", "host-kernel", "host-kernel-tested"] as const),
      ...(["cpu-vendor", "cpu-flags", "smt", "swap", "entropy", "bpf-unprivileged", "bpf-btf"] as const),
      ...(["namespaces", "mke2fs", "qemu", "root", "home"] as const),
    ])
      expect([id, statusOf(id)]).toEqual([id, "ok"]);
    const found = (id: DoctorCheckId) => checks.find((each) => each.id === id)?.found;
    expect(found("firecracker")).toMatch(new RegExp(`^${pinned.version} at .*, SHA-256 ${pinned.sha256.firecracker}$`));
    expect(found("jailer")).toContain(`is ${pinned.version}, SHA-256 ${pinned.sha256.jailer}; it is not used`);
    expect(found("host-kernel")).toBe(execFileSync("uname", ["-r"], { encoding: "utf8" }).trim());
  });

  it("has started a Firecracker in its jail, looked at it, and left nothing of it", () => {
    const { status, found } = checks.find(({ id }) => id === "vmm-probe") ?? {};
    expect([status, found]).toEqual(["ok", expect.stringMatching(/^one was started: filters, uid, rights/)]);
    expect(leftovers()).toEqual([]);
  });

  it("does not pass this host for production: it is emulated, without mitigations, and nobody keeps its clock", () => {
    expect(["bare-metal", "mitigations", "time-sync"].map((id) => statusOf(id as DoctorCheckId))).toEqual([
      "warn",
      "fail",
      "fail",
    ]);
    const report = { schema: "exai.doctor/v1", version: "", at: "", mode: "production", recorded: false } as const;
    expect(() => requireFit({ ...report, ok: false, checks })).toThrow(/^this host fails .*: .*mitigations.*time-sync/);
  });

  it("shows for each check a command that a person can run here", () => {
    for (const { id, status, command } of checks.filter((each) => each.status === "ok" && each.id !== "kvm-guest")) {
      const ran = execFileSync("/bin/bash", ["-c", `{ ${command.replace(/ {3}#.*$/, "")}; } 2>&1 || true`], {
        encoding: "utf8",
        cwd: "/",
      });
      expect([id, status, /command not found|syntax error/.test(ran)]).toEqual([id, "ok", false]);
    }
  });
});

describe("what changes on the host", () => {
  it("pages that are merged", async () => {
    await during("/sys/kernel/mm/ksm/run", "1", async () => {
      expect(await look("ksm")).toMatchObject({ status: "fail" });
    });
    expect(await look("ksm")).toMatchObject({ status: "ok" });
  });

  it("swap on a file", async () => {
    const file = join(folder, "swap");
    execFileSync("dd", ["if=/dev/zero", `of=${file}`, "bs=1M", "count=8", "status=none"]);
    execFileSync("chmod", ["600", file]);
    execFileSync("mkswap", [file], { stdio: "ignore" });
    execFileSync("swapon", [file]);
    try {
      expect(await look("swap")).toMatchObject({ status: "fail", found: "1 on" });
    } finally {
      execFileSync("swapoff", [file]);
    }
    expect(await look("swap")).toMatchObject({ status: "ok", found: "off" });
  });

  it("where cores go", async () => {
    const file = "/proc/sys/kernel/core_pattern";
    await during(file, "/tmp/core.%p", async () => {
      expect(await look("core-dumps")).toMatchObject({ status: "fail", found: "core_pattern = /tmp/core.%p" });
    });
    await during(file, "|/bin/false", async () => {
      expect(await look("core-dumps")).toMatchObject({ status: "ok" });
    });
  });

  it.each<[DoctorCheckId, string, string, DoctorResult["status"], string, DoctorResult["status"]]>([
    ["kernel-console", "/proc/sys/kernel/printk", "7", "warn", "1", "ok"],
    ["kernel-log-rate", "/proc/sys/kernel/printk_ratelimit", "0", "warn", "5", "ok"],
    ["bpf-jit-harden", "/proc/sys/net/core/bpf_jit_harden", "0", "warn", "2", "ok"],
    ["bpf-unprivileged", "/proc/sys/kernel/unprivileged_bpf_disabled", "0", "fail", "2", "ok"],
  ])("%s: %s", async (id, file, worse, isWorse, better, isBetter) => {
    await during(file, worse, async () => {
      expect(await look(id)).toMatchObject({ status: isWorse });
    });
    await during(file, better, async () => {
      expect(await look(id)).toMatchObject({ status: isBetter });
    });
  });

  it("a Firecracker of another digest", async () => {
    const file = join(folder, "firecracker");
    writeFileSync(file, "#!/bin/sh\ntouch $0.ran\n", { mode: 0o755 });
    const other = await doctorContext({ home: folder, imageStore, firecracker: { path: file } });
    const check = allChecks(other).find(({ id }) => id === "firecracker");
    expect(check && (await runCheck(check, "production", thisHost))).toMatchObject({ status: "fail" });
    expect(thisHost.stat(`${file}.ran`)).toBeUndefined();
  });
});

it("a probe that was killed leaves a VMM, which the next one removes", async () => {
  const script = join(folder, "killed.ts");
  const module = resolve(import.meta.dirname, "../../packages/host/src/doctor/context.ts");
  const options = { home: folder, imageStore, firecracker: { path: join(firecrackerFolder(), "firecracker") } };
  writeFileSync(
    script,
    `import { doctorContext } from ${JSON.stringify(module)};
    const { probeVmm } = await doctorContext(${JSON.stringify(options)});
    await probeVmm((uid) => { console.log(uid); return new Promise((done) => setTimeout(done, 600_000)); });`,
  );
  const child = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit");
  const [first] = await once(child.stdout, "data");
  child.kill("SIGKILL");
  await ended;
  const uid = Number(String(first));
  expect(runningVmms(thisHost).map((vmm) => vmm.uid)).toEqual([uid]);
  expect(await look("vmm-probe")).toMatchObject({ status: "ok" });
  expect(runningVmms(thisHost)).toEqual([]);
  expect(leftovers()).toEqual([]);
});

it("a Firecracker that runs is looked at: filter, uid, rights, limits, cgroup, network", async () => {
  const ids = ["vmm-seccomp", "vmm-uid", "vmm-rights", "vmm-limits", "vmm-cgroup", "metadata-address"] as const;
  for (const id of ids) expect(await look(id)).toMatchObject({ status: "not-applicable" });
  const firecracker = join(firecrackerFolder(), "firecracker");
  const vmUids = { first: uidRanges.first + 1000, count: 50 };
  const plan = (size: Parameters<typeof planFirecracker>[1]) => planFirecracker(bootFiles("base"), size);
  await using driver = machineDriver({ config: { imageStore, firecracker, vmUids }, plan });
  const vm = await driver.launch({ cpus: 1, memoryMib: 128, diskMib: 64 });
  (await vm.dial())[Symbol.dispose]();
  for (const id of ids)
    expect(await look(id)).toMatchObject({ status: "ok", found: expect.stringMatching(/^1 that run: /) });
  // A program that took a microVM's uid is taken for a VMM, and has none of it.
  const intruder = ["setpriv", `--reuid=${vm.uid}`, `--regid=${vm.uid}`, "--clear-groups", "sleep", "600"];
  const script = `${intruder.join(" ")} >/dev/null 2>&1 & echo $!`;
  const pid = execFileSync("/bin/sh", ["-c", script], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    await expect.poll(() => readFileSync(`/proc/${pid}/cmdline`, "utf8"), { timeout: 10_000 }).toMatch(/^sleep/);
    for (const id of ids) {
      const { status, found } = await look(id);
      expect([id, status, found]).toEqual([id, "fail", expect.stringContaining(`process ${pid} `)]);
    }
  } finally {
    process.kill(Number(pid), "SIGKILL");
  }
});
