// nested-host: always
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { firecracker as pinned } from "../../tools/nested-host/firecracker.ts";
import type { MachineDriver } from "../support/machine-driver.ts";
import { firecrackerDriver } from "./machine-kvm.ts";
import { sampleOf } from "./proc-sample.ts";
import { keptFolder } from "./where.ts";

/** What Firecracker has and sees, as the kernel tells it. SPECIFICATION.md has the list in words. */
describe("Firecracker in our jail", () => {
  let driver: MachineDriver;
  let pid: number;
  let uid: number;
  const at = (name: string): string => `/proc/${pid}/${name}`;

  beforeAll(async () => {
    driver = await firecrackerDriver();
    const vm = await driver.launch({ cpus: 1, memoryMib: 128, diskMib: 64 });
    using _guest = await vm.dial();
    const [line = ""] = readFileSync(join(vm.folder, "status.json"), "utf8").split("\n");
    pid = JSON.parse(line).started.pid;
    uid = vm.uid;
    writeFileSync(join(keptFolder(), "jail.json"), `${JSON.stringify(sampleOf(pid), null, 2)}\n`);
  });
  afterAll(() => driver?.[Symbol.asyncDispose]());

  it("is the release's executable, and has nothing of root's", () => {
    const { exe, status } = sampleOf(pid);
    expect(exe.sha256).toBe(pinned.sha256.firecracker);
    const ids = Array(4).fill(uid).join("\t");
    const none = "0".repeat(16);
    expect(status).toMatchObject({ Uid: ids, Gid: ids, Groups: "", NoNewPrivs: "1" });
    expect(status).toMatchObject({ CapInh: none, CapPrm: none, CapEff: none, CapBnd: none, CapAmb: none });
    expect(readFileSync(at("environ"), "utf8")).toBe("");
    expect(readFileSync(at("limits"), "utf8")).toMatch(/Max core file size +0 +0/);
  });

  it("has its own system-call filter on every thread", () => {
    const threads = readdirSync(at("task"));
    expect(threads.length).toBeGreaterThan(2);
    for (const thread of threads) expect(readFileSync(at(`task/${thread}/status`), "utf8")).toMatch(/Seccomp:\t2/);
  });

  it("shares no namespace with the host but those of users and time", () => {
    const own = readdirSync(at("ns")).filter(
      (kind) => readlinkSync(at(`ns/${kind}`)) !== readlinkSync(`/proc/self/ns/${kind}`),
    );
    expect(own.sort()).toEqual(["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "uts"]);
    expect(readFileSync(at("cgroup"), "utf8")).toMatch(/^0::\/exai-[a-z2-7]{8}\/[a-z2-7]{20}\n$/);
  });

  it("sees these files, and can write to its disk and its work folder alone", () => {
    const root = at("root");
    // The executable is seen at its own path.
    const folder = readlinkSync(at("exe")).split("/")[1] ?? "";
    expect(readdirSync(root).sort()).toEqual(["dev", "run", "snap", folder, "vm"].sort());
    expect(readdirSync(join(root, "dev")).sort()).toEqual(["kvm", "null", "urandom", "zero"]);
    expect(readdirSync(join(root, "run")).sort()).toEqual(["api.sock", "log", "metrics", "v.sock", "v.sock_1024"]);
    expect(readdirSync(join(root, "vm")).sort()).toEqual(["config", "initramfs", "kernel", "overlay", "rootfs"]);
    const writable = mountsOf(at("mountinfo")).filter((each) => each.options.includes("rw"));
    expect(writable.map((each) => each.point).sort()).toEqual(["/run", "/vm/overlay"]);
    for (const each of mountsOf(at("mountinfo"))) {
      expect(each.options).toContain("nosuid");
      if (each.point !== "/dev") expect(each.options).toContain("nodev");
    }
    expect(statSync(join(root, "dev/kvm")).uid).toBe(uid);
  });

  it("holds these descriptors, and no socket of the host's", () => {
    const kinds = new Set(sampleOf(pid).descriptors.map((each) => each.replace(/[:\d]+(\[\d+\])?|\[\d+\]/g, "")));
    const allowed =
      /^(\/dev\/(null|kvm|urandom)|\/vm\/(kernel|initramfs|rootfs|overlay)|\/run\/(log|metrics)|pipe|socket|anon_inode.*)$/;
    expect([...kinds].filter((each) => !allowed.test(each))).toEqual([]);
    // Each of its sockets is one of its own network namespace, where nobody but it and its keeper has made any.
    const own = readFileSync(at("net/unix"), "utf8").trim().split("\n").slice(1).map(socketOf);
    const held = sampleOf(pid).descriptors.flatMap((each) => /^socket:\[(\d+)\]$/.exec(each)?.[1] ?? []);
    expect(held.length).toBeGreaterThan(0);
    for (const inode of held) expect(own.map((socket) => socket.inode)).toContain(inode);
    const names = new Set(own.map(({ path }) => path).filter((path) => path !== ""));
    expect([...names].sort()).toEqual(["/run/api.sock", "/run/v.sock", "/run/v.sock_1024"]);
  });
});

/** A line of /proc/net/unix (proc(5)): … inode, path. */
function socketOf(line: string): { inode: string; path: string } {
  const words = line.trim().split(/ +/);
  return { inode: words[6] ?? "", path: words[7] ?? "" };
}

const mountsOf = (path: string): { point: string; options: string[] }[] =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(" "))
    .map((fields) => ({ point: fields[4] ?? "", options: (fields[5] ?? "").split(",") }));
