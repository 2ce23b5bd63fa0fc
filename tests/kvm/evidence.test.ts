import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dialGuest, type GuestSession, probeKvm } from "@exai/machine";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sh } from "../../packages/machine/src/contract/guest.ts";
import { firecracker as pinned } from "../../tools/nested-host/firecracker.ts";
import { releaseKeys } from "../vm/machine-images.ts";
import { BareFirecracker } from "./bare-firecracker.ts";
import { firecrackerCommandLine } from "./command-line.ts";
import { digestOf, sampleOf } from "./proc-sample.ts";
import { bridgeVsock, type VsockBridge, vsockPort } from "./vsock-bridge.ts";
import { builtImage, imageStore, keptFolder } from "./where.ts";

/**
 * That the other suites of this folder mean what they say: KVM, the VMM and the guest are real. What is found is kept as
 * evidence.json.
 */
const kept = keptFolder();
const evidence: Record<string, unknown> = {};
const folder = mkdtempSync(join(tmpdir(), "exai-evidence-"));
afterAll(() => {
  writeFileSync(join(kept, "evidence.json"), `${JSON.stringify(evidence, null, 2)}\n`);
  rmSync(folder, { recursive: true });
});

it("KVM boots a guest to 64-bit user space, as our own probe sees it", async () => {
  const startMs = performance.now();
  const answer = await probeKvm({
    imageStore,
    releaseKeys: releaseKeys(),
    memoryFile: join(folder, "kvm.json"),
    timeoutMs: 120_000,
  });
  evidence["kvm"] = { ...answer, ms: Math.round(performance.now() - startMs) };
  expect(answer).toEqual({ works: true, reason: expect.stringContaining("64-bit user space") });
});

it("Firecracker and its jailer are the release's executables", () => {
  const described = (path: string) => {
    const [says] = execFileSync(path, ["--version"], { encoding: "utf8" }).split("\n");
    return { sha256: digestOf(path), says };
  };
  const found = { firecracker: described(BareFirecracker.executable), jailer: described(BareFirecracker.jailer) };
  Object.assign(evidence, found);
  const { version, sha256 } = pinned;
  expect(found.firecracker).toEqual({ sha256: sha256.firecracker, says: `Firecracker v${version}` });
  expect(found.jailer).toEqual({ sha256: sha256.jailer, says: `Jailer v${version}` });
});

describe("Firecracker in its jailer, by bare calls of its API", () => {
  const uid = 2_000_001;
  const { manifest, ...files } = builtImage("base");
  let vm: BareFirecracker;
  let bridge: VsockBridge;
  const dial = (): Promise<GuestSession> => dialGuest(bridge.path, { hostname: "evidence", timeoutMs: 120_000 });

  beforeAll(async () => {
    const disk = join(folder, "disk");
    writeFileSync(disk, "");
    truncateSync(disk, 64 * 2 ** 20);
    execFileSync("mke2fs", ["-q", "-t", "ext4", "-m", "0", disk]);
    execFileSync("chown", [`${uid}:${uid}`, disk]);
    vm = await BareFirecracker.start({ id: "evidence", uid, files: { ...files, disk } });
    bridge = await bridgeVsock(join(vm.root, "vsock"), uid);
  });
  afterAll(async () => {
    await bridge?.[Symbol.asyncDispose]();
    await vm?.[Symbol.asyncDispose]();
  });

  it("answers with its version", async () => {
    const { status, body } = await vm.call("GET", "/version");
    evidence["api"] = body;
    expect({ status, body }).toEqual({ status: 200, body: { firecracker_version: pinned.version } });
  });

  it("refuses nonsense in its own words", async () => {
    const { status, body } = await vm.call("PUT", "/machine-config", { vcpu_count: 0, mem_size_mib: 128 });
    expect(status).toBe(400);
    expect(body).toMatchObject({ fault_message: expect.stringMatching(/vCPU/i) });
  });

  it("boots our kernel, whose agent dials the host and says hello", async () => {
    const boot_args = firecrackerCommandLine(manifest, vsockPort);
    const drive = (drive_id: string, is_read_only: boolean) =>
      vm.put(`/drives/${drive_id}`, { drive_id, path_on_host: `/${drive_id}`, is_root_device: false, is_read_only });
    await vm.put("/machine-config", { vcpu_count: 1, mem_size_mib: 256 });
    await vm.put("/boot-source", { kernel_image_path: "/kernel", initrd_path: "/initramfs", boot_args });
    await drive("rootfs", true);
    await drive("disk", false);
    await vm.put("/entropy", {});
    await vm.put("/vsock", { guest_cid: 3, uds_path: "/vsock" });
    const startedMs = performance.now();
    await vm.put("/actions", { action_type: "InstanceStart" });
    using guest = await dial();
    const helloMs = Math.round(performance.now() - startedMs);
    const { contract, kernelRelease, agentVersion, initUs, readyUs } = guest.hello;
    const times = { initMs: Number(initUs) / 1000, readyMs: Number(readyUs) / 1000, helloMs };
    evidence["guest"] = { kernelRelease, agentVersion, ...times };
    expect(contract).toBe(1);
    expect(kernelRelease).toMatch(/-exai$/);
  });

  it("is what /proc says it is", () => {
    const sample = sampleOf(vm.pid);
    evidence["proc"] = sample;
    expect(sample.exe.sha256).toBe(pinned.sha256.firecracker);
    expect(sample.status).toMatchObject({
      Uid: [uid, uid, uid, uid].join("\t"),
      CapEff: "0".repeat(16),
      NoNewPrivs: "1",
      Seccomp: "2",
    });
    expect(sample.cgroup).toBe("0::/exai-kvm/evidence");
    expect(sample.descriptors).toEqual(expect.arrayContaining(["anon_inode:kvm-vm", "anon_inode:kvm-vcpu:0"]));
  });

  it("is dialled again by its guest, runs a command in it, and ends when the guest switches itself off", async () => {
    using guest = await dial();
    const { stdout } = await sh(guest, "id -u; cat /sys/devices/system/clocksource/clocksource0/current_clocksource");
    expect(stdout).toBe("0\nkvm-clock\n");
    await guest.machine.shutdown({ graceMs: 100 });
    expect(await vm.exited).toBe(0);
  });

  it("leaves nothing", async () => {
    writeFileSync(join(kept, "evidence-console.log"), vm.console());
    await vm[Symbol.asyncDispose]();
    expect(existsSync(vm.root)).toBe(false);
    expect(existsSync(vm.cgroup)).toBe(false);
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain("exai-kvm-");
    expect(readdirSync("/srv").filter((name) => name.startsWith("exai-kvm-"))).toEqual([]);
  });
});
