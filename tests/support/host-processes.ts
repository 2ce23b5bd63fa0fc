import { type ChildProcess, spawn } from "node:child_process";
import { join, resolve } from "node:path";
import type { Stand } from "../../packages/tenant/src/testing/stand.ts";
import type { HostFixture } from "../vm/host-fixture.ts";

const source = (path: string): string => resolve(import.meta.dirname, "../../packages", path);

/** One of a stack's processes as the supervisor starts it: configuration on its input, whose end is its own. */
class HostProcess implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly ended: Promise<number | string>;
  #said = "";

  constructor(main: string, config: unknown) {
    this.child = spawn(process.execPath, [main], { env: codeCache(), cwd: "/", stdio: ["pipe", "ignore", "pipe"] });
    this.ended = new Promise((done) => this.child.once("exit", (code, signal) => done(signal ?? code ?? -1)));
    this.child.stdin?.on("error", () => undefined);
    this.child.stdin?.write(`${JSON.stringify(config)}\n`);
    this.child.stderr?.on("data", (chunk: Buffer) => {
      this.#said += chunk.toString();
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Waits until it has said what matches. @throws with its words when it ends before */
  protected async says(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.#said);
      if (found !== null) return found;
      const more = new Promise<void>((done) => this.child.stderr?.once("data", () => done()));
      const how = await Promise.race([this.ended, more]);
      if (how !== undefined) throw new Error(`it ended with ${how}: ${this.#said}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
  }
}

/** Its own compiled code and nothing else of the test's environment. */
const codeCache = (): Record<string, string> => {
  const folder = process.env["NODE_COMPILE_CACHE"];
  return folder === undefined ? {} : { NODE_COMPILE_CACHE: folder };
};

/** The node agent. */
export class AgentProcess extends HostProcess {
  readonly socket: string;

  constructor(host: HostFixture, at = 0) {
    super(source("node/src/main.ts"), host.config);
    this.socket = join(host.config.runFolder, "node", String(host.tenants[at]), "node.sock");
  }

  async serving(): Promise<void> {
    await this.says(/"serving"/);
  }
}

/** The channel of the host's first tenant, with its own uid, and a client's side of it. */
export class ChannelProcess extends HostProcess {
  readonly stand: Stand;
  url = "";

  private constructor(stand: Stand, config: unknown) {
    super(source("tenant/src/channel/main.ts"), config);
    this.stand = stand;
  }

  /** @param stand keys and certificates; one may serve several processes, one after the other */
  static async start(host: HostFixture, stand: Stand): Promise<ChannelProcess> {
    const runFolder = join(host.config.runFolder, "t", host.tenants[0]);
    const started = new ChannelProcess(stand, { ...stand.config, runFolder });
    const [, url = ""] = await started.says(/"url":"([^"]+)"/);
    started.url = url;
    return started;
  }
}
