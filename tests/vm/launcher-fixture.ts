import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { newWorkspaceId } from "@exai/base";
import { launcher } from "./host-fixture.ts";

export interface Report {
  ok: boolean;
  pid: number;
  startTime: number;
  launcherPid: number;
  launcherStartTime: number;
  step?: string;
  error?: string;
}

/** Uids of nobody else: who owns the folder of sockets and console, and who the VMM is. */
export const channelUid = 3_100_000_001;
export const vmUid = 3_100_000_002;

export const systemFolders = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/qemu", "/usr/share/seabios"];

/** One VM's surroundings as the node agent makes them, and the launcher on top. */
export class LauncherFixture implements AsyncDisposable {
  readonly root = mkdtempSync(join(tmpdir(), "exai-launcher-"));
  /** The channel's own folder. */
  readonly channel = join(this.root, "channel");
  readonly socket = join(this.channel, "guest.sock");
  readonly console = join(this.channel, "console.log");
  readonly status = join(this.root, "status.json");
  readonly disk = join(this.root, "disk");
  readonly netnsName = `exai-test-${newWorkspaceId().slice(0, 8)}`;
  readonly netns = `/run/netns/${this.netnsName}`;
  readonly #reports: Report[] = [];

  constructor() {
    chmodSync(this.root, 0o711);
    mkdirSync(this.channel, { mode: 0o700 });
    chownSync(this.channel, channelUid, channelUid);
    writeFileSync(this.disk, Buffer.alloc(1 << 20));
    chownSync(this.disk, vmUid, vmUid);
    execFileSync(launcher, ["netns-add", this.netnsName]);
  }

  document(change: Record<string, unknown> = {}): Record<string, unknown> {
    const owner = { uid: channelUid, gid: channelUid };
    return {
      tag: "a-lifetime",
      cgroup: null,
      netns: this.netns,
      cpuset: null,
      uid: vmUid,
      gid: vmUid,
      vmm: "/usr/bin/sleep",
      argv: ["60"],
      binds: [{ source: this.disk, target: "/vm/overlay", readOnly: false }],
      devices: [],
      systemFolders,
      sockets: [{ fd: 10, path: this.socket, ...owner, mode: 0o600 }],
      console: { path: this.console, ...owner, maxBytes: 64 << 10 },
      stderrLog: { path: join(this.root, "vmm.log"), maxBytes: 64 << 10 },
      statusFile: this.status,
      limits: { nofile: 256, fsizeBytes: 1 << 20, core: 0, memlockBytes: 65_536, nproc: 100 },
      ...change,
    };
  }

  start(): ChildProcess {
    return spawn(launcher, ["run"], { env: {}, stdio: ["pipe", "pipe", "inherit"] });
  }

  async run(change: Record<string, unknown> = {}): Promise<Report & { code: number }> {
    const child = this.start();
    let output = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stdin?.end(JSON.stringify(this.document(change)));
    const code = await new Promise<number>((resolve) => child.once("close", (exit) => resolve(exit ?? -1)));
    const report = JSON.parse(output) as Report;
    if (report.ok) this.#reports.push(report);
    return { ...report, code };
  }

  /** Lines of the status file. */
  statusLines(): { started?: Report & { tag: string }; exit?: { code?: number; signal?: number } }[] {
    if (!existsSync(this.status)) return [];
    return readFileSync(this.status, "utf8")
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  }

  async exit(): Promise<{ code?: number; signal?: number } | undefined> {
    return until(() => this.statusLines()[1]?.exit);
  }

  kill(report: Report): void {
    execFileSync(launcher, [
      "kill",
      ...["--pid", String(report.pid), "--start-time", String(report.startTime)],
      ...["--launcher-pid", String(report.launcherPid), "--launcher-start-time", String(report.launcherStartTime)],
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const report of this.#reports) this.kill(report);
    execFileSync(launcher, ["netns-del", this.netnsName]);
    rmSync(this.root, { recursive: true, force: true });
  }
}

/**
 * Polls until there is an answer; undefined after so many looks as this time has room for. A machine that stands still for a
 * while is no reason to give up: it costs one look.
 */
export async function until<T>(look: () => T | undefined | false, timeoutMs = 10_000): Promise<T | undefined> {
  for (let left = Math.ceil(timeoutMs / lookMs); ; left--) {
    const found = look();
    if (found !== undefined && found !== false) return found;
    if (left <= 0) return undefined;
    await sleep(lookMs);
  }
}
const lookMs = 10;

export const processExists = (pid: number): boolean => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, "latin1").includes(") Z ");
  } catch {
    return false;
  }
};

/** Living processes of a uid with their command lines. */
export function processesOf(uid: number): { pid: number; command: string }[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const status = readFileSync(`/proc/${name}/status`, "utf8");
      if (!new RegExp(`^Uid:\\s+${uid}\\s`, "m").test(status) || /^State:\s+Z/m.test(status)) return [];
      return [{ pid: Number(name), command: readFileSync(`/proc/${name}/cmdline`, "utf8") }];
    } catch {
      return []; // it ended while it was looked at
    }
  });
}
