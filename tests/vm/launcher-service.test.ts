import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mountsOf, statusField } from "../support/proc.ts";
import { launcher } from "./host-fixture.ts";
import { LauncherFixture, vmUid } from "./launcher-fixture.ts";

/** What `exai-launcher service` and `agent` let a program do: Perl stands in their place and asks the kernel. */
const uid = 3_100_000_020;
let root: string;
let seen: string;
let written: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "exai-service-"));
  chmodSync(root, 0o711);
  [seen, written] = [join(root, "seen"), join(root, "written")];
  for (const folder of [seen, written, join(root, "app"), join(root, "at")]) mkdirSync(folder);
  for (const folder of [seen, written]) chownSync(folder, uid, uid);
  writeFileSync(join(root, "secret"), "for all", { mode: 0o644 });
});
afterAll(() => rmSync(root, { recursive: true }));

const run = (argv: readonly string[]): string => {
  const [file = "", ...args] = argv;
  return execFileSync(file, args, { encoding: "utf8" });
};

function asService(program: readonly string[], network: "host" | "none" = "none"): string {
  const ids = ["--uid", String(uid), "--gid", String(uid), "--app", join(root, "app"), "--at", join(root, "at")];
  const libraries = ["/usr", "/bin", "/lib", "/lib64"].flatMap((folder) => ["--libraries", folder]);
  const folders = ["--see", seen, "--write", written, "--network", network];
  return run([launcher, "service", ...ids, ...libraries, ...folders, "--", ...program]);
}
const asAgent = (program: readonly string[]): string => run([launcher, "agent", "--", ...program]);

/** Calls by their numbers on x86_64, with arguments that the kernel takes or finds fault with, but never allows or denies. */
const perl = (calls: readonly (readonly number[])[]): string[] => [
  "/usr/bin/perl",
  "-e",
  `for (${JSON.stringify(calls)}) { for my $c (@$_) { my ($n, @a) = map { $_ + 0 } @$c; $! = 0; syscall($n, @a) == -1 or $! = 0; my $e = $! + 0; print "$e "; } }`,
];
const errors = (text: string): number[] => text.trim().split(" ").map(Number);

const [ok, EPERM, ENOSYS, EAFNOSUPPORT] = [0, 1, 38, 97];
const none = -1;

/** Nobody's: ways into processes and the kernel. */
const nobodys = {
  kcmp: [312, none, none, none],
  process_vm_readv: [310, 0, 0, 0, 0, 0, 0],
  pidfd_getfd: [438, none, none, none],
  ptrace: [101, 0x4200, none, 0, 0],
  io_uring_setup: [425, 0, 0],
  keyctl: [250, none, 0, 0, 0, 0],
  fanotify_init: [300, none, none],
  open_by_handle_at: [304, none, 0, 0],
  quotactl: [179, none, 0, 0, 0],
} as const;

/** Root's. */
const roots = {
  unshare: [272, 0],
  setns: [308, none, 0],
  mount: [165, 0, 0, 0, 0, 0],
  open_tree: [428, none, 0, 0],
  personality: [135, 0xffffffff],
  memfd_create: [319, 0, 0],
  mknodat: [259, none, 0, 0, 0],
  clone_newuser: [56, 0x1000_0000 | 0x0010_0000, 0, 0, 0, 0],
} as const;

const sockets = { AF_UNIX: 1, AF_INET: 2, AF_INET6: 10, AF_NETLINK: 16, AF_PACKET: 17, AF_ALG: 38, AF_VSOCK: 40 };
const open = Object.values(sockets).map((family) => [41, family, 2, 0]);
const newer = [[470], [0x4000_0000 + 39], [435, 0, 0]];

describe("system calls", () => {
  const calls = [...Object.values(nobodys), ...Object.values(roots)];

  it("are not denied as such without a filter: what the next ones see is the filter's", () => {
    const found = errors(run(perl(calls.slice(0, -1))));
    expect(found).not.toContain(EPERM);
  });

  it("into other processes, the kernel or root's world are denied to a service", () => {
    expect(errors(asService(perl(calls)))).toEqual(calls.map(() => EPERM));
  });

  it("of the first kind are denied to the node agent, and mounts and namespaces are not", () => {
    const found = errors(asAgent(perl(calls.slice(0, -1))));
    const [first, second] = [found.slice(0, Object.keys(nobodys).length), found.slice(Object.keys(nobodys).length)];
    expect(first).toEqual(first.map(() => EPERM));
    expect(second).not.toContain(EPERM);
  });

  it("that are newer than the filter, and those of another architecture's numbering, are not there", () => {
    expect(errors(asService(perl(newer)))).toEqual([ENOSYS, ENOSYS, ENOSYS]);
    expect(errors(asAgent(perl(newer.slice(0, 2))))).toEqual([ENOSYS, ENOSYS]);
  });

  it("open UNIX sockets, and IPv4 and IPv6 to who has the host's network; nobody has another kind", () => {
    const [inner, outer] = [
      [ok, ...Array(6).fill(EAFNOSUPPORT)],
      [ok, ok, ok, ...Array(4).fill(EAFNOSUPPORT)],
    ];
    expect(errors(asService(perl(open)))).toEqual(inner);
    expect(errors(asAgent(perl(open)))).toEqual(inner);
    expect(errors(asService(perl(open), "host"))).toEqual(outer);
  });
});

describe("files", () => {
  const tell = (script: string): string => asService(["/bin/sh", "-c", script]).trim();

  it("that were not given are not there, whoever may read them", () => {
    expect(tell(`cat ${root}/secret 2>/dev/null || echo none; ls ${root} | tr '\\n' ' '`)).toBe(
      "none\nat seen written",
    );
    expect(tell("ls -d /etc /root /sys /tmp/* 2>/dev/null || true")).toBe(root);
  });

  it("that were given to read can't be written by their owner, those to write can, and neither can be executed", () => {
    expect(tell(`touch ${seen}/x 2>/dev/null || echo refused`)).toBe("refused");
    expect(tell(`cd ${written} && cp /bin/true . && (./true 2>/dev/null || echo refused)`)).toBe("refused");
  });
});

it("the node agent's rights are enough for all that it starts: a launch, a volume for what runs, its end", async () => {
  await using fixture = new LauncherFixture();
  const tool = (...words: string[]) => asAgent([launcher, ...words]);
  const name = `${fixture.netnsName}-more`;
  tool("netns-add", name);
  tool("netns-del", name);
  const document = JSON.stringify(fixture.document({ mountPoints: ["/snap"] }));
  const report = JSON.parse(
    execFileSync(launcher, ["agent", "--", launcher, "run"], { input: document, encoding: "utf8" }),
  );
  expect(report).toMatchObject({ ok: true });
  const who = ["--pid", String(report.pid), "--start-time", String(report.startTime)];
  try {
    expect(statusField(report.pid, "CapEff")).toBe("0".repeat(16));
    const at = ["--at", join(fixture.root, "volume")];
    tool("volume-make", ...at, "--bytes", "65536", "--uid", String(vmUid), "--gid", String(vmUid));
    tool("volume-bind", ...at, ...who);
    const mount = mountsOf(report.pid).find(({ point }) => point === "/snap");
    expect(mount?.options).toEqual(expect.arrayContaining(["rw", "nosuid", "nodev", "noexec"]));
    tool("volume-drop", ...at);
  } finally {
    tool("kill", ...who);
  }
  expect(existsSync(`/proc/${report.pid}`)).toBe(false);
  const disk = join(root, "disk");
  writeFileSync(disk, Buffer.alloc(4 << 20));
  asAgent(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", disk]);
});

it("neither may lose a step: a folder that is a link, or is not there, starts nothing", () => {
  for (const wrong of [
    ["--see", "/proc/self/cwd"],
    ["--write", join(root, "nothing")],
    ["--network", "some"],
  ]) {
    const ids = ["--uid", String(uid), "--gid", String(uid), "--app", join(root, "app"), "--at", join(root, "at")];
    expect(() => run([launcher, "service", ...ids, ...wrong, "--", "/bin/true"])).toThrow(/jail|usage/);
  }
});
