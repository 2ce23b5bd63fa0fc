import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { cgroup2Mount } from "../../packages/node/src/cgroup.ts";
import { launcher, pausedMachine, qemu } from "./host-fixture.ts";
import { channelUid, LauncherFixture, processExists, processesOf, until, vmUid } from "./launcher-fixture.ts";

const monitor = (fixture: LauncherFixture) => [
  ...[10, 11].map((fd) => ({
    fd,
    path: join(fixture.channel, fd === 10 ? "guest.sock" : "vm.qmp"),
    uid: channelUid,
    gid: channelUid,
    mode: 0o600,
  })),
];

test("QEMU has its own uid, no capability, namespaces of its own, and sees only what was given", async () => {
  await using fixture = new LauncherFixture();
  const report = await fixture.run({
    vmm: qemu,
    argv: pausedMachine,
    sockets: monitor(fixture),
    devices: ["/dev/kvm"],
  });
  expect(report).toMatchObject({ ok: true, code: 0 });
  const proc = `/proc/${report.pid}`;
  await until(() => statusField(proc, "Seccomp") === "2");
  const ids = Array(4).fill(vmUid).join("\t");
  expect(statusField(proc, "Uid")).toBe(ids);
  expect(statusField(proc, "Gid")).toBe(ids);
  expect(statusField(proc, "Groups")).toBe("");
  expect(statusField(proc, "NoNewPrivs")).toBe("1");
  expect(statusField(proc, "Seccomp")).toBe("2");
  for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
    expect(statusField(proc, set)).toBe("0000000000000000");
    expect(statusField(`/proc/${report.launcherPid}`, set)).toBe("0000000000000000");
  }
  expect(statusField(proc, "NSpid")).toBe(`${report.pid}\t1`);
  for (const name of ["mnt", "net", "pid", "ipc", "uts", "cgroup"]) {
    expect(readlinkSync(`${proc}/ns/${name}`)).not.toBe(readlinkSync(`/proc/self/ns/${name}`));
  }
  expect(statSync(`${proc}/ns/net`).ino).toBe(statSync(fixture.netns).ino);
  expect(readFileSync(`${proc}/environ`, "utf8")).toBe("");
  expect(mounts(proc)).toEqual([
    "/ ro",
    "/dev ro",
    "/usr/bin/qemu-system-x86_64 ro",
    "/usr/lib ro",
    "/usr/lib64 ro",
    "/usr/share/qemu ro",
    "/usr/share/seabios ro",
    "/vm/overlay rw",
  ]);
  expect(readdirSync(`${proc}/root`).sort()).toEqual(["dev", "lib", "lib64", "usr", "vm"]);
  expect(readdirSync(`${proc}/root/dev`).sort()).toEqual(["kvm", "null", "urandom", "zero"]);
});

test("the VMM gets no descriptor but its standard ones and its sockets", async () => {
  await using fixture = new LauncherFixture();
  const report = await fixture.run();
  expect(readdirSync(`/proc/${report.pid}/fd`).sort()).toEqual(["0", "1", "10", "2"]);
  const kept = readdirSync(`/proc/${report.launcherPid}/fd`).map((fd) =>
    readlinkSync(`/proc/${report.launcherPid}/fd/${fd}`),
  );
  expect(kept.filter((target) => target.startsWith("socket:"))).toEqual([]);
  expect(kept.filter((target) => target.startsWith("/")).toSorted()).toEqual(
    ["/dev/null", "/dev/null", "/dev/null", "/dev/null", fixture.console, `${fixture.console}.1`]
      .concat([fixture.status, join(fixture.root, "vmm.log"), join(fixture.root, "vmm.log.1")])
      .toSorted(),
  );
});

test("limits hold, and the sockets are for their owner alone", async () => {
  await using fixture = new LauncherFixture();
  const report = await fixture.run();
  const limits = readFileSync(`/proc/${report.pid}/limits`, "utf8");
  expect(limits).toMatch(/Max file size +1048576 +1048576/);
  expect(limits).toMatch(/Max core file size +0 +0/);
  expect(limits).toMatch(/Max processes +100 +100/);
  const socket = lstatSync(fixture.socket);
  expect([socket.isSocket(), socket.uid, socket.gid, socket.mode & 0o777]).toEqual([
    true,
    channelUid,
    channelUid,
    0o600,
  ]);
  expect(lstatSync(fixture.console).uid).toBe(channelUid);
});

test.each([
  ["netns", { netns: "/run/netns/exai-test-missing" }, "No such file"],
  ["netns", { netns: "/etc/hostname" }, "not a namespace"],
  ["cgroup", { cgroup: "/sys/fs/cgroup/exai-test-missing" }, "No such file"],
  ["cgroup", { cgroup: "/tmp" }, "not a cgroup v2"],
  ["cpuset", { cpuset: [1000] }, "CPU"],
  ["jail", { binds: [{ source: "/dev/null", target: "/vm/null", readOnly: true }] }, "not a RegularFile"],
  ["exec", { vmm: "/etc/hostname" }, "Exec format error"],
  ["document", { uid: 0 }, "neither 0"],
  ["document", { argv: ["a\0b"] }, "NUL"],
  ["document", { shell: "sh" }, "unknown field"],
])("%s: what is not as it must be is told, and nothing is left: %o", async (step, change, message) => {
  await using fixture = new LauncherFixture();
  const report = await fixture.run(change);
  expect(report).toMatchObject({ ok: false, step });
  expect(report.error).toContain(message);
  expect(report.code).not.toBe(0);
  if (step !== "exec") expect(existsSync(fixture.socket)).toBe(false); // privileges are gone by then; the agent removes it
  expect(existsSync("/run/netns/exai-test-missing")).toBe(false);
  expect(existsSync("/sys/fs/cgroup/exai-test-missing")).toBe(false);
  expect(await fixture.run()).toMatchObject({ ok: true }); // the lock on the status file is free
});

test("it joins the cgroup that it is given", async () => {
  const mount = cgroup2Mount();
  if (mount === undefined) throw new Error("this host has no cgroup v2");
  await using fixture = new LauncherFixture();
  const folder = join(mount, fixture.netnsName);
  mkdirSync(folder);
  try {
    const report = await fixture.run({ cgroup: folder });
    const members = readFileSync(`${folder}/cgroup.procs`, "utf8").trim().split("\n").map(Number);
    expect(members.sort()).toEqual([report.launcherPid, report.pid].sort());
    fixture.kill(report);
  } finally {
    rmdirSync(folder);
  }
});

test("links that the folder's owner planted are replaced, not followed", async () => {
  await using fixture = new LauncherFixture();
  const victim = join(fixture.root, "victim");
  writeFileSync(victim, "precious", { mode: 0o600 });
  for (const name of ["guest.sock", "console.log"]) symlinkSync(victim, join(fixture.channel, name));
  linkSync(victim, join(fixture.channel, "console.log.1"));
  expect(await fixture.run({ vmm: "/usr/bin/yes", argv: [] })).toMatchObject({ ok: true });
  await until(() => statSync(fixture.console).size > 0);
  expect(readFileSync(victim, "utf8")).toBe("precious");
  expect([statSync(victim).uid, statSync(victim).mode & 0o777, statSync(victim).nlink]).toEqual([0, 0o600, 1]);
  expect(lstatSync(fixture.socket).isSocket()).toBe(true);
  expect(lstatSync(fixture.console).isFile()).toBe(true);
});

test("a folder that is a link is refused, and one of root's is not written for the channel", async () => {
  await using fixture = new LauncherFixture();
  const roots = join(fixture.root, "roots");
  mkdirSync(roots, { mode: 0o711 });
  symlinkSync(roots, join(fixture.channel, "link"));
  const owner = { uid: channelUid, gid: channelUid };
  for (const path of [join(fixture.channel, "link", "guest.sock"), join(roots, "guest.sock")]) {
    const report = await fixture.run({ sockets: [{ fd: 10, path, ...owner, mode: 0o600 }] });
    expect(report).toMatchObject({ ok: false, step: "sockets" });
    const log = await fixture.run({ console: { path, ...owner, maxBytes: 8192 } });
    expect(log).toMatchObject({ ok: false, step: "console" });
  }
  expect(readdirSync(roots)).toEqual([]);
});

test("a host's file can't be opened from the jail", async () => {
  await using fixture = new LauncherFixture();
  await fixture.run({ vmm: "/usr/bin/cat", argv: ["/etc/shadow", "/proc/1/environ", fixture.disk] });
  expect(await fixture.exit()).toEqual({ code: 1 });
  expect(readFileSync(join(fixture.root, "vmm.log"), "utf8").match(/No such file/g)).toHaveLength(3);
});

test.each([
  ["/usr/bin/true", [], { code: 0 }],
  ["/usr/bin/false", [], { code: 1 }],
  ["/usr/bin/tail", ["-c", "1", "/dev/zero"], { signal: 9 }],
])("the status file tells how %s ended", async (vmm, argv, exit) => {
  await using fixture = new LauncherFixture();
  const report = await fixture.run({ vmm, argv });
  if ("signal" in exit) fixture.kill(report);
  expect(await fixture.exit()).toEqual(exit);
  expect(fixture.statusLines()[0]?.started).toMatchObject({ tag: "a-lifetime", pid: report.pid });
  await until(() => !processExists(report.launcherPid));
  expect(processExists(report.launcherPid)).toBe(false);
});

test("the end of the launcher is the end of the VMM, whose sockets then refuse", async () => {
  await using fixture = new LauncherFixture();
  const report = await fixture.run({ vmm: qemu, argv: pausedMachine, sockets: monitor(fixture) });
  process.kill(report.launcherPid, "SIGKILL");
  await until(() => !processExists(report.pid));
  expect(processExists(report.pid)).toBe(false);
  expect(fixture.statusLines()).toHaveLength(1); // nobody was there to write the exit
  const refused = await new Promise((resolve) => connect(fixture.socket).once("error", resolve));
  expect(refused).toMatchObject({ code: "ECONNREFUSED" });
});

test("a second launcher of one VM is refused while the first lives", async () => {
  await using fixture = new LauncherFixture();
  const first = await fixture.run();
  const second = await fixture.run();
  expect(second).toMatchObject({ ok: false, step: "status" });
  expect(second.error).toContain("another launcher");
  expect(processExists(first.pid)).toBe(true);
  expect(lstatSync(fixture.socket).isSocket()).toBe(true);
});

test("a caller that dies leaves either a VM that the status file knows, or none", async () => {
  await using fixture = new LauncherFixture();
  for (let delayMs = 0; delayMs < 12; delayMs++) {
    expect(runByDyingCaller(fixture, delayMs)).toBe("killed");
    await sleep(150);
    const lines = fixture.statusLines();
    const started = lines[0]?.started;
    const alive = jailed();
    if (started !== undefined && processExists(started.pid)) {
      expect(alive).toEqual([started.pid]);
      fixture.kill(started);
    } else expect(alive).toEqual([]);
  }
});

test("a keeper whose caller died meanwhile starts nothing", async () => {
  await using fixture = new LauncherFixture();
  let caught = 0;
  for (let attempt = 0; attempt < 100 && caught < 3; attempt++) {
    rmSync(fixture.status, { force: true });
    const caller = fixture.start();
    // Not "close": a keeper that was stopped this early still holds the caller's output.
    const ended = new Promise((done) => caller.once("exit", done));
    caller.stdin?.end(JSON.stringify(fixture.document()));
    const keeper = await stopChildOf(Number(caller.pid));
    if (keeper !== undefined && fixture.statusLines().length === 0) {
      caught++;
      caller.kill("SIGKILL");
      await ended;
      process.kill(keeper, "SIGCONT");
      await until(() => !processExists(keeper));
      expect(jailed()).toEqual([]);
      continue;
    }
    if (keeper !== undefined) process.kill(keeper, "SIGCONT");
    await ended;
    const started = fixture.statusLines()[0]?.started;
    if (started !== undefined) fixture.kill(started);
  }
  expect(caught).toBe(3);
});

/** Stops a process's first child as soon as there is one; undefined when it was too fast. */
async function stopChildOf(pid: number): Promise<number | undefined> {
  for (const endMs = Date.now() + 2_000; Date.now() < endMs; await new Promise(setImmediate)) {
    try {
      const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ");
      if (child === undefined || child === "") continue;
      process.kill(Number(child), "SIGSTOP");
      return Number(child);
    } catch {
      return undefined;
    }
  }
  return undefined;
}

/** The shell is the caller: its SIGKILL for itself is what an agent's death looks like to the launcher. */
function runByDyingCaller(fixture: LauncherFixture, delayMs: number): string {
  const document = join(fixture.root, "document.json");
  writeFileSync(document, JSON.stringify(fixture.document()));
  const script = `${launcher} run < ${document} & sleep 0.${String(delayMs).padStart(3, "0")}; kill -9 $$`;
  try {
    execFileSync("/bin/sh", ["-c", script], { stdio: "ignore" });
    return "ended";
  } catch {
    return "killed";
  }
}

/** Processes of the VM's uid that are not the launcher. */
const jailed = (): number[] =>
  processesOf(vmUid)
    .filter(({ command }) => command.startsWith("/usr/bin/sleep"))
    .map(({ pid }) => pid);

test("a flood on the console stays within its bound and its share of a core", async () => {
  await using fixture = new LauncherFixture();
  const report = await fixture.run({ vmm: "/usr/bin/yes", argv: ["exai flood"] });
  await sleep(2_000);
  const sizes = () => [fixture.console, `${fixture.console}.1`].map((path) => statSync(path).size);
  for (let look = 0; look < 20; look++) {
    expect(sizes().reduce((sum, size) => sum + size)).toBeLessThanOrEqual(64 << 10);
    await sleep(10);
  }
  const ticks = readFileSync(`/proc/${report.launcherPid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? [];
  const cpuMs = (Number(ticks[11]) + Number(ticks[12])) * 10;
  expect(cpuMs).toBeLessThan(500); // of more than 2 s
  fixture.kill(report);
  expect(await fixture.exit()).toEqual({ signal: 9 });
  expect(readFileSync(fixture.console, "latin1") + readFileSync(`${fixture.console}.1`, "latin1")).toMatch(
    /\[exai: \d+ bytes dropped\]/,
  );
});

test("kill means exactly one process", async () => {
  await using fixture = new LauncherFixture();
  const report = await fixture.run();
  fixture.kill({ ...report, startTime: report.startTime + 1, launcherStartTime: report.launcherStartTime + 1 });
  expect(processExists(report.pid)).toBe(true);
  const alive = (start: number) => {
    try {
      execFileSync(launcher, ["alive", "--pid", String(report.pid), "--start-time", String(start)]);
      return true;
    } catch {
      return false;
    }
  };
  expect([alive(report.startTime), alive(report.startTime + 1)]).toEqual([true, false]);
  fixture.kill(report);
  expect([processExists(report.pid), processExists(report.launcherPid)]).toEqual([false, false]);
  expect(alive(report.startTime)).toBe(false);
});

test("what a service put aside ends before it starts again, and when its uid is given up", async () => {
  await using fixture = new LauncherFixture();
  const [uid, neighbour] = [3_100_000_010, 3_100_000_011];
  const at = join(fixture.root, "app");
  mkdirSync(at);
  const service = (id: number, script: string) =>
    execFileSync(launcher, [
      ...["service", "--uid", String(id), "--gid", String(id), "--app", fixture.channel, "--at", at],
      ...["/bin", "/usr", "/lib", "/lib64"].flatMap((folder) => ["--libraries", folder]),
      ...["--", "/bin/sh", "-c", script],
    ]);
  const reap = (first: number, count: number) =>
    execFileSync(launcher, ["reap", "--first", String(first), "--count", String(count)]);
  const putAside = "for i in 1 2 3; do (setsid sleep 300 >/dev/null 2>&1 </dev/null &); done";
  try {
    for (const each of [uid, neighbour]) service(each, putAside);
    expect(await until(() => processesOf(uid).length === 3 && processesOf(neighbour).length === 3)).toBe(true);
    service(uid, "exit 0");
    expect([processesOf(uid).length, processesOf(neighbour).length]).toEqual([0, 3]);
    // One that runs away by forking.
    service(uid, "(setsid sh -c 'while :; do (sleep 0.01 &) ; done' >/dev/null 2>&1 </dev/null &)");
    expect(await until(() => processesOf(uid).length > 2)).toBe(true);
    reap(uid, 1);
    await sleep(100);
    expect([processesOf(uid).length, processesOf(neighbour).length]).toEqual([0, 3]);
  } finally {
    reap(uid, 2);
  }
  expect(processesOf(neighbour)).toEqual([]);
});

const statusField = (proc: string, name: string): string =>
  new RegExp(`^${name}:[ \\t]*(.*?)\\s*$`, "m").exec(readFileSync(`${proc}/status`, "utf8"))?.[1] ?? "missing";

const mounts = (proc: string): string[] =>
  readFileSync(`${proc}/mountinfo`, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(" "))
    .map((words) => `${words[4]} ${words[5]?.split(",")[0]}`)
    .sort();
