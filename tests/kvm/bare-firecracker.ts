import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { firecrackerFolder } from "../../tools/nested-host/firecracker.ts";

export interface ApiAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface BareOptions {
  id: string;
  uid: number;
  /** Name in the jail → file of the host. */
  files: Readonly<Record<string, string>>;
  /** Further words for the jailer. */
  jailer?: readonly string[];
  /** A folder whose file system allows devices: the jailer makes /dev/kvm below it. */
  base?: string;
}

const apiMs = 20_000;

/**
 * Firecracker in its own jailer, driven by bare calls of its API: what a driver is measured against, and the proof that
 * the real thing runs. Disposed of, nothing of it is left.
 */
export class BareFirecracker implements AsyncDisposable {
  static readonly executable = join(firecrackerFolder(), "firecracker");
  static readonly jailer = join(firecrackerFolder(), "jailer");

  /** The jail's `/`, seen from outside. */
  readonly root: string;
  readonly cgroup: string;
  readonly exited: Promise<number | string>;
  readonly #base: string;
  readonly #child: ChildProcess;
  readonly #binds: string[] = [];

  /** Starts it and waits for its API. */
  static async start(options: BareOptions): Promise<BareFirecracker> {
    const started = new BareFirecracker(options);
    try {
      await started.#ready();
      return started;
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor({ id, uid, files, base = "/srv", jailer = [] }: BareOptions) {
    this.#base = mkdtempSync(join(base, "exai-kvm-"));
    this.root = join(this.#base, "firecracker", id, "root");
    this.cgroup = `/sys/fs/cgroup/exai-kvm/${id}`;
    mkdirSync(this.root, { recursive: true });
    chownSync(this.root, uid, uid);
    for (const [name, path] of Object.entries(files)) this.#bind(path, name);
    const log = openSync(join(this.#base, "console.log"), "w");
    const jail = ["--id", id, "--uid", String(uid), "--gid", String(uid), "--chroot-base-dir", this.#base];
    const groups = ["--cgroup-version", "2", "--parent-cgroup", "exai-kvm", "--cgroup", "pids.max=32"];
    const limits = ["--resource-limit", "no-file=256"];
    const program = ["--exec-file", BareFirecracker.executable];
    const argv = [...program, ...jail, ...groups, ...limits, ...jailer, "--", "--api-sock", "/api.sock"];
    this.#child = spawn(BareFirecracker.jailer, argv, { stdio: ["ignore", log, log], env: {} });
    closeSync(log);
    this.exited = new Promise((resolve) => {
      this.#child.once("error", (error) => resolve(error.message));
      this.#child.once("exit", (code, signal) => resolve(code ?? signal ?? "unknown"));
    });
  }

  /** Shows a file in the jail without a copy: the jailer takes what is mounted there into its own mount namespace. */
  #bind(path: string, name: string): void {
    const target = join(this.root, name);
    writeFileSync(target, "");
    execFileSync("mount", ["--bind", path, target]);
    this.#binds.push(target);
  }

  async #ready(): Promise<void> {
    const endMs = performance.now() + apiMs;
    while (!existsSync(join(this.root, "api.sock"))) {
      const how = await Promise.race([this.exited, sleep(20)]);
      if (how !== undefined) throw new Error(`Firecracker ended with ${how}: ${this.console().slice(-2000)}`);
      if (performance.now() > endMs) throw new Error(`Firecracker has no API: ${this.console().slice(-2000)}`);
    }
  }

  /** The jailer becomes Firecracker by execve: one pid. */
  get pid(): number {
    if (this.#child.pid === undefined) throw new Error("the jailer was not started");
    return this.#child.pid;
  }

  /** What the guest and Firecracker have printed. */
  console(): string {
    return readFileSync(join(this.#base, "console.log"), "utf8").replaceAll("\r", "");
  }

  call(method: "GET" | "PUT" | "PATCH", path: string, body?: unknown): Promise<ApiAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<ApiAnswer>();
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const asked = request({ socketPath: join(this.root, "api.sock"), method, path, headers }, (answer) => {
      const parts: Buffer[] = [];
      answer.on("data", (part: Buffer) => parts.push(part));
      answer.on("end", () => {
        const text = Buffer.concat(parts).toString("utf8");
        resolve({ status: answer.statusCode ?? 0, body: text === "" ? undefined : JSON.parse(text) });
      });
    });
    asked.on("error", reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
    return promise;
  }

  /** @throws with Firecracker's own words */
  async put(path: string, body: unknown): Promise<void> {
    const { status, body: answer } = await this.call("PUT", path, body);
    if (status !== 204) throw new Error(`Firecracker answered ${status} to ${path}: ${JSON.stringify(answer)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.exited;
    for (const target of this.#binds.splice(0)) execFileSync("umount", [target]);
    for (const folder of [this.cgroup, join(this.cgroup, "..")]) {
      if (existsSync(folder) && readdirSync(folder, { withFileTypes: true }).every((entry) => !entry.isDirectory()))
        rmdirSync(folder);
    }
    rmSync(this.#base, { recursive: true, force: true });
  }
}
