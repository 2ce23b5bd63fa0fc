import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { Client } from "@exai/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stackProcesses } from "../../tools/bench/pss.ts";
import { leftoversOf, type StackTraces, tracesOf } from "../support/leftovers.ts";
import {
  cardsOf,
  descriptorKinds,
  hardLimit,
  listensAt,
  mountsOf,
  ownNamespaces,
  statusField,
  threadsOf,
} from "../support/proc.ts";
import { TestStack } from "../support/stack.ts";

/** What the long-lived processes of a real stack have and see, as the kernel tells it. docs/internals/launcher.md has the list. */
let stack: TestStack;
let traces: StackTraces;
let client: Client;
let run: string;
let tenant: string;
const pids: Record<string, number> = {};
const pidOf = (name: string): number => pids[name] ?? Number.NaN;

beforeAll(async () => {
  stack = await TestStack.start();
  traces = tracesOf(stack.home);
  run = join("/run/exai", traces.stack);
  [tenant = ""] = readdirSync(join(run, "t"));
  await stack.must(["ws", "create", "--name", "one", "--memory", "128M", "--disk", "128M"]);
  client = await Client.open({ home: stack.home, tenant });
  // A guest's and a client's connection are there while we look.
  await (await client.workspaces.get("one")).run(["true"]);
  for (const { name, pid } of await stackProcesses(stack)) pids[name] = pid;
});

afterAll(async () => {
  await client?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
  expect(leftoversOf(traces)).toEqual([]);
});

const noCapability = "0".repeat(16);
const environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", /^MALLOC_/, /^MALLOC_/];

const services = [
  { name: "control", offset: 1, groups: [] },
  { name: "broker", offset: 2, groups: [] },
  { name: "channel-local", offset: 100, groups: [2] },
] as const;

describe.each(services)("the process $name", ({ name, offset, groups }) => {
  it("has a uid of its own, and nothing of root's", () => {
    const pid = pidOf(name);
    const uid = traces.uids.first + offset;
    const four = Array(4).fill(uid).join("\t");
    expect([statusField(pid, "Uid"), statusField(pid, "Gid")]).toEqual([four, four]);
    expect(statusField(pid, "Groups")).toBe(groups.map((each) => traces.uids.first + each).join(" "));
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
      expect([set, statusField(pid, set)]).toEqual([set, noCapability]);
    expect(hardLimit(pid, "Max core file size")).toBe("0");
    expect(Number(hardLimit(pid, "Max processes"))).toBeLessThanOrEqual(256);
    expect(Number(hardLimit(pid, "Max locked memory"))).toBeLessThanOrEqual(65_536);
  });

  it("has a system-call filter, and no way to gain rights, on every thread", () => {
    const pid = pidOf(name);
    expect(threadsOf(pid).length).toBeGreaterThan(4);
    for (const thread of threadsOf(pid))
      expect([statusField(pid, "Seccomp", thread), statusField(pid, "NoNewPrivs", thread)]).toEqual(["2", "1"]);
  });

  it("has no variable of the operator's", () => {
    const found = readFileSync(`/proc/${pidOf(name)}/environ`, "utf8")
      .split("\0")
      .filter(Boolean);
    expect(found).toEqual(environment.map((each) => (typeof each === "string" ? each : expect.stringMatching(each))));
  });

  it("runs no program but Node, and sees none besides", () => {
    const pid = pidOf(name);
    const app = join(run, "app");
    expect(readlinkSync(`/proc/${pid}/exe`)).toMatch(new RegExp(`^${app}/node_modules/.*/node$`));
    const executable = mountsOf(pid).filter((each) => !each.options.includes("noexec"));
    expect(executable.map((each) => each.point).sort()).toEqual(
      [app, "/usr/lib", "/usr/lib64"].filter(exists(pid)).sort(),
    );
    for (const folder of ["bin", "sbin", "usr/bin", "usr/sbin", "etc", "root", "home", "sys"])
      expect([folder, exists(pid)(`/${folder}`)]).toEqual([folder, false]);
  });

  it("sees no other process", () => {
    const own = inside(name, 'readdirSync("/proc").filter((each) => /^[0-9]+$/.test(each)).length');
    // Itself, and the one that asks.
    expect(own).toBe(2);
    expect(inside(name, `readdirSync("/proc/${pidOf("node")}").length`)).toBe("ENOENT");
    expect(inside(name, 'readdirSync("/proc/sys").length')).toBe("ENOENT");
  });

  it("has descriptors of these kinds alone", () => {
    const allowed = [
      "/dev/null",
      "pipe",
      "socket",
      ...["[eventfd]", "[eventpoll]", "inotify"].map((each) => `anon_inode:${each}`),
    ];
    const files = descriptorKinds(pidOf(name)).filter((each) => !allowed.includes(each));
    const writer = name.split("-")[0];
    const own = name === "control" ? join(stack.home, "control") : join(stack.home, "spool", tenant, writer ?? "");
    for (const each of files) expect(dirname(each)).toBe(own);
  });
});

describe("what each sees of the host's files", () => {
  const seen = (name: string): Record<string, "rw" | "ro"> =>
    Object.fromEntries(
      mountsOf(pidOf(name)).map(({ point, options }) => {
        expect(options, point).toContain("nosuid");
        if (point !== "/dev") expect(options, point).toContain("nodev");
        return [point.replace(stack.home, "HOME").replace(run, "RUN").replaceAll(tenant, "TENANT"), access(options)];
      }),
    );
  const access = (options: readonly string[]) => (options.includes("rw") ? "rw" : "ro");
  const everywhere = { "/": "ro", "/dev": "ro", "/proc": "ro", "/usr/lib": "ro", "RUN/app": "ro" } as const;

  it("control: its database and the folder of its socket", () => {
    expect(seen("control")).toMatchObject({ ...everywhere, "HOME/control": "rw", "RUN/api": "rw" });
    expect(Object.keys(seen("control")).filter((each) => /HOME|RUN/.test(each))).toHaveLength(3);
  });

  it("channel: its tenant's run folder and records, of which it writes its own", () => {
    const own = { "RUN/t/TENANT": "rw", "HOME/spool/TENANT": "ro", "HOME/spool/TENANT/channel": "rw" };
    expect(seen("channel-local")).toMatchObject({ ...everywhere, ...own });
    expect(Object.keys(seen("channel-local")).filter((each) => /HOME|RUN/.test(each))).toHaveLength(4);
    expect(inside("channel-local", `readdirSync(${JSON.stringify(join(run, "t"))}).length`)).toBe(1);
    expect(inside("channel-local", `readFileSync(${JSON.stringify(join(stack.home, "host/host.key"))})`)).toBe(
      "ENOENT",
    );
  });

  it("broker: images, its key and journal, its writer's records, the sockets that it calls", () => {
    const sockets = { "RUN/api": "ro", "RUN/node/TENANT": "ro", "RUN/m/TENANT": "ro", "RUN/t/TENANT/admin": "ro" };
    const own = { "HOME/host": "ro", "HOME/host/journal": "rw", "HOME/spool/TENANT/broker": "rw", "RUN/b": "rw" };
    expect(seen("broker")).toMatchObject({ ...everywhere, ...sockets, ...own });
    expect(Object.keys(seen("broker")).filter((each) => /HOME|RUN/.test(each))).toHaveLength(9);
  });

  it("/dev has null, zero and urandom", () => {
    for (const { name } of services)
      expect(readdirSync(`/proc/${pidOf(name)}/root/dev`).sort()).toEqual(["null", "urandom", "zero"]);
  });
});

describe("network and namespaces", () => {
  it("only the channel has the host's network, and listens at one address and for the broker", () => {
    const apart = ["cgroup", "ipc", "mnt", "uts"];
    expect(ownNamespaces(pidOf("channel-local"))).toEqual(apart);
    const admin = join(run, "t", tenant, "admin/channel.sock");
    expect(listensAt(pidOf("channel-local"))).toEqual([admin, expect.stringMatching(/^127\.0\.0\.1:\d+$/)].sort());
    for (const name of ["control", "broker"]) {
      expect(ownNamespaces(pidOf(name))).toEqual([...apart, "net"].sort());
      expect(cardsOf(pidOf(name))).toEqual(["lo"]);
    }
    expect(listensAt(pidOf("control"))).toEqual([join(run, "api/control.sock")]);
    expect(listensAt(pidOf("broker"))).toEqual([join(run, "b/status.sock")]);
  });
});

describe("the node agent", () => {
  it("is root with eleven capabilities, and can gain none", () => {
    const pid = pidOf("node");
    // CHOWN DAC_OVERRIDE FOWNER KILL SETGID SETUID SETPCAP SYS_CHROOT SYS_PTRACE SYS_ADMIN MKNOD (linux/capability.h)
    const kept = [0, 1, 3, 5, 6, 7, 8, 18, 19, 21, 27].reduce((sum, each) => sum + 2n ** BigInt(each), 0n);
    const mask = kept.toString(16).padStart(16, "0");
    expect(statusField(pid, "Uid")).toBe("0\t0\t0\t0");
    expect(statusField(pid, "Groups")).toBe("");
    for (const set of ["CapPrm", "CapEff", "CapBnd"]) expect([set, statusField(pid, set)]).toEqual([set, mask]);
    for (const set of ["CapInh", "CapAmb"]) expect([set, statusField(pid, set)]).toEqual([set, noCapability]);
    for (const thread of threadsOf(pid))
      expect([statusField(pid, "Seccomp", thread), statusField(pid, "NoNewPrivs", thread)]).toEqual(["2", "1"]);
    expect(hardLimit(pid, "Max core file size")).toBe("0");
  });

  it("has no network but loopback that is down, and listens for the broker alone", () => {
    const pid = pidOf("node");
    expect(ownNamespaces(pid)).toEqual(["ipc", "net", "uts"]);
    expect(cardsOf(pid)).toEqual(["lo"]);
    // Bound under this name and moved from there.
    expect(listensAt(pid)).toEqual([join(run, "node", `.${tenant}`)]);
  });

  it("has descriptors of these kinds alone, and no variable of the operator's", () => {
    const kinds = [
      "/dev/null",
      "pipe",
      "socket",
      "anon_inode:[eventfd]",
      "anon_inode:[eventpoll]",
      "anon_inode:inotify",
    ];
    expect(descriptorKinds(pidOf("node")).filter((each) => !kinds.includes(each))).toEqual([]);
    expect(readFileSync(`/proc/${pidOf("node")}/environ`, "utf8")).toMatch(
      /^PATH=[^\0]*\0LANG=[^\0]*\0(MALLOC_[^\0]*\0){2}$/,
    );
  });
});

const exists =
  (pid: number) =>
  (path: string): boolean => {
    try {
      return readlinkSync(`/proc/${pid}/root${path}`) !== "";
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === "EINVAL"; // there, and no link
    }
  };

/** The value of an expression in a process with this one's uid that sees what it sees, or the error's code. */
function inside(name: string, expression: string): unknown {
  const pid = pidOf(name);
  const uid = statusField(pid, "Uid").split("\t")[0] ?? "";
  const script = `const { readdirSync, readFileSync } = require("node:fs");
    let answer; try { answer = ${expression}; } catch (error) { answer = error.code; }
    console.log(JSON.stringify(answer));`;
  const node = readlinkSync(`/proc/${pid}/exe`);
  const enter = ["--target", String(pid), "--mount", "--setuid", uid, "--setgid", uid, "--", node, "-e", script];
  return JSON.parse(execFileSync("nsenter", enter, { encoding: "utf8", env: {} }));
}
