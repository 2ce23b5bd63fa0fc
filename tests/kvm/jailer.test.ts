import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { MachineDriver } from "../support/machine-driver.ts";
import {
  descriptorKinds,
  hardLimit,
  listensAt,
  mountsOf,
  ownNamespaces,
  statusField,
  threadsOf,
} from "../support/proc.ts";
import { launcher } from "../vm/host-fixture.ts";
import { BareFirecracker } from "./bare-firecracker.ts";
import { firecrackerCommandLine } from "./command-line.ts";
import { firecrackerDriver } from "./machine-kvm.ts";
import { vsockPort } from "./vsock-bridge.ts";
import { builtImage, keptFolder } from "./where.ts";

/**
 * One Firecracker in our jail and one in its own jailer, both with a running guest, as the kernel shows them. Each
 * difference is listed, here and in docs/internals/launcher.md; a new one is looked at before it is.
 */
const limits = ["Max core file size", "Max file size", "Max locked memory", "Max open files", "Max processes"];
const sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

const plain = (kind: string): string => kind.replace(/^anon_inode:(\[?[a-z-]+).*$/, "anon_inode:$1");

function sampleOf(pid: number) {
  const root = `/proc/${pid}/root`;
  const folder = (path: string): string[] => readdirSync(join(root, path)).toSorted();
  return {
    namespaces: ownNamespaces(pid),
    capabilities: Object.fromEntries(sets.map((set) => [set, statusField(pid, set)])),
    groups: statusField(pid, "Groups"),
    noNewPrivs: statusField(pid, "NoNewPrivs"),
    seccomp: [...new Set(threadsOf(pid).map((thread) => statusField(pid, "Seccomp", thread)))],
    limits: Object.fromEntries(limits.map((name) => [name, hardLimit(pid, name)])),
    root: folder("/"),
    devices: folder("/dev"),
    writable: mountsOf(pid)
      .filter(({ options }) => options.includes("rw"))
      .map(({ point }) => point)
      .toSorted(),
    setUid: mountsOf(pid)
      .filter(({ options }) => !options.includes("nosuid"))
      .map(({ point }) => point),
    descriptors: [...new Set(descriptorKinds(pid).map(plain))].toSorted(),
    listens: listensAt(pid),
    environment: readFileSync(`/proc/${pid}/environ`, "utf8"),
  };
}
type Sample = ReturnType<typeof sampleOf>;

const uid = 2_000_002;
const netns = "exai-test-jailer";
const folder = mkdtempSync(join(tmpdir(), "exai-jailer-"));
let driver: MachineDriver;
let bare: BareFirecracker;
let ours: Sample;
let theirs: Sample;

beforeAll(async () => {
  driver = await firecrackerDriver();
  const vm = await driver.launch({ cpus: 1, memoryMib: 128, diskMib: 64 });
  using _guest = await vm.dial();
  const [line = ""] = readFileSync(join(vm.folder, "status.json"), "utf8").split("\n");
  ours = sampleOf(JSON.parse(line).started.pid);
  await vm.machine.destroy();
  theirs = await inTheirJailer();
  writeFileSync(join(keptFolder(), "jails.json"), `${JSON.stringify({ ours, theirs }, null, 2)}\n`);
});
afterAll(async () => {
  await bare?.[Symbol.asyncDispose]();
  await driver?.[Symbol.asyncDispose]();
  execFileSync(launcher, ["netns-del", netns]);
  rmSync(folder, { recursive: true });
});

async function inTheirJailer(): Promise<Sample> {
  const { manifest, ...files } = builtImage("base");
  const disk = join(folder, "disk");
  writeFileSync(disk, "");
  truncateSync(disk, 64 * 2 ** 20);
  execFileSync("mke2fs", ["-q", "-t", "ext4", disk]);
  execFileSync("chown", [`${uid}:${uid}`, disk]);
  execFileSync(launcher, ["netns-add", netns]);
  const jailer = ["--netns", `/run/netns/${netns}`];
  bare = await BareFirecracker.start({ id: "jailer", uid, files: { ...files, disk }, jailer });
  const drive = (drive_id: string, is_read_only: boolean) =>
    bare.put(`/drives/${drive_id}`, { drive_id, path_on_host: `/${drive_id}`, is_root_device: false, is_read_only });
  await bare.put("/machine-config", { vcpu_count: 1, mem_size_mib: 128 });
  const boot_args = firecrackerCommandLine(manifest, vsockPort);
  await bare.put("/boot-source", { kernel_image_path: "/kernel", initrd_path: "/initramfs", boot_args });
  await drive("rootfs", true);
  await drive("disk", false);
  await bare.put("/entropy", {});
  await bare.put("/vsock", { guest_cid: 3, uds_path: "/vsock" });
  await bare.put("/actions", { action_type: "InstanceStart" });
  return sampleOf(bare.pid);
}

it("both have nothing of root's, a filter on every thread, no variable, and no group", () => {
  for (const each of [ours, theirs]) {
    expect(each.seccomp).toEqual(["2"]);
    expect(each).toMatchObject({ noNewPrivs: "1", groups: "", environment: "" });
    expect([each.capabilities["CapEff"], each.capabilities["CapPrm"]]).toEqual(["0".repeat(16), "0".repeat(16)]);
  }
});

it("ours shares fewer namespaces", () => {
  expect(ours.namespaces).toEqual(["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "uts"]);
  // Its process IDs too with --new-pid-ns.
  expect(theirs.namespaces).toEqual(["mnt", "net"]);
});

it("ours has no capability left in the bounding set", () => {
  expect(ours.capabilities["CapBnd"]).toBe("0".repeat(16));
  expect(theirs.capabilities["CapBnd"]).toBe(statusField(process.pid, "CapBnd"));
});

it("ours has limits on what it can make, theirs those that it is told", () => {
  expect(ours.limits).toEqual({
    "Max core file size": "0",
    // A snapshot of its memory, which is more than its disk.
    "Max file size": `${(128 + 64) << 20}`,
    "Max locked memory": "65536",
    "Max open files": "1024",
    "Max processes": "129",
  });
  const hosts = (name: string): string => hardLimit(process.pid, name);
  const untold = ["Max core file size", "Max file size", "Max locked memory", "Max processes"];
  const expected = Object.fromEntries(untold.map((name) => [name, hosts(name)]));
  expect(theirs.limits).toEqual({ ...expected, "Max open files": "256" });
});

it("ours can write to its disk and its work folder, theirs to its whole root, which lies on the host's disk", () => {
  expect(ours.writable).toEqual(["/run", "/vm/overlay"]);
  expect(theirs.writable).toEqual(["/", "/disk"]);
  expect([ours.setUid, theirs.setUid.includes("/")]).toEqual([[], true]);
});

it("each has these devices", () => {
  expect(ours.devices).toEqual(["kvm", "null", "urandom", "zero"]);
  expect(theirs.devices).toEqual(["kvm", "net", "urandom", "userfaultfd"]);
});

it("they hold descriptors of the same kinds but for their files and, in ours, pipes to the keeper", () => {
  const files = (one: Sample) => one.descriptors.filter((each) => each.startsWith("/") && !each.startsWith("/dev/"));
  const rest = (one: Sample) => one.descriptors.filter((each) => !files(one).includes(each));
  expect(files(ours)).toEqual([
    "/run/log",
    "/run/metrics",
    ...["initramfs", "kernel", "overlay", "rootfs"].map((each) => `/vm/${each}`),
  ]);
  // Its console is a file of the host's here.
  expect(files(theirs)).toEqual([
    "/disk",
    "/initramfs",
    "/kernel",
    "/rootfs",
    expect.stringMatching(/^\/srv\/.*console\.log$/),
  ]);
  expect(rest(ours)).toEqual([...rest(theirs), "pipe"].toSorted());
});

it("both listen at their API's socket and their guest's alone", () => {
  expect(ours.listens).toEqual(["/run/api.sock", "/run/v.sock"]);
  expect(theirs.listens).toEqual(["/api.sock", "/vsock"]);
});
