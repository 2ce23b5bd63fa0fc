import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cgroup2Mount } from "../../packages/node/src/cgroup.ts";
import { repository } from "../../tests/support/stack.ts";
import { cpuMs } from "./cpu-time.ts";

/** A whole stack on a home of its own, whose microVMs are doubles. Disposed of, nothing of it is left. */
export class NullStack implements AsyncDisposable {
  readonly home = mkdtempSync(join(tmpdir(), "exai-bench-"));
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  /** Supervisor and all that it and its children start, but for what the launcher moves to a VM's group. */
  readonly #own: string;
  readonly #mount: string;
  #said = "";

  /** @param nullVmm path of the double */
  static async start(nullVmm: string): Promise<NullStack> {
    const mount = cgroup2Mount();
    if (mount === undefined) throw new Error("CPU time is counted by control groups: mount cgroup2 first");
    const stack = new NullStack(nullVmm, mount);
    try {
      await stack.#ready();
      return stack;
    } catch (error) {
      await stack[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(nullVmm: string, mount: string) {
    this.#mount = mount;
    this.#own = join(mount, `bench-${process.pid}`);
    mkdirSync(this.#own);
    const main = join(import.meta.dirname, "null-stack-main.ts");
    this.#child = spawn(process.execPath, [main, this.home, nullVmm, this.#own], {
      cwd: repository,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const keep = (chunk: Buffer) => {
      this.#said = (this.#said + chunk).slice(-10_000);
    };
    this.#child.stdout?.on("data", keep);
    this.#child.stderr?.on("data", keep);
    this.#ended = new Promise((done) => this.#child.once("close", () => done()));
  }

  async #ready(): Promise<void> {
    const over = this.#ended.then(() => true);
    for (const untilMs = performance.now() + 60_000; !/^ready$/m.test(this.#said); ) {
      const ended = await Promise.race([over, new Promise((done) => void setTimeout(done, 20, false))]);
      if (ended || performance.now() > untilMs) throw new Error(`the stack does not start: ${this.#said}`);
    }
  }

  /** CPU time so far, in ms, of our processes, their children and theirs, ended ones and the doubles among them. */
  cpuMs(): number {
    return cpuMs(this.#own) + cpuMs(this.#vms);
  }

  /** Of which the doubles and their keepers took this, for each of `count`. */
  vmCpuMs(count: number): number {
    return cpuMs(this.#vms) / count;
  }

  get #vms(): string {
    const { stack } = JSON.parse(readFileSync(join(this.home, "home.json"), "utf8")) as { stack: string };
    return join(this.#mount, `exai-${stack}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#ended;
    if (existsSync(join(this.home, "home.json")))
      execFileSync(join(repository, "exai"), ["down", "--purge"], {
        env: { ...process.env, EXAI_HOME: this.home },
        stdio: ["ignore", "ignore", "inherit"],
      });
    rmSync(this.home, { recursive: true, force: true });
    rmdirSync(this.#own);
  }
}
