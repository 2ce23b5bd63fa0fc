import { type ChildProcess, spawn } from "node:child_process";
import { join, resolve } from "node:path";
import { type HostFixture, launcher } from "./host-fixture.ts";

const main = resolve(import.meta.dirname, "../../packages/node/src/main.ts");

/** The agent as the supervisor starts it: with the rights that its work takes, and a system-call filter. */
export class AgentProcess implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly socket: string;
  readonly ended: Promise<number | string>;

  constructor(host: HostFixture, at = 0) {
    this.socket = join(host.config.runFolder, "node", String(host.tenants[at]), "node.sock");
    this.child = spawn(launcher, ["agent", "--", process.execPath, main], {
      env: {},
      cwd: "/",
      stdio: ["pipe", "ignore", "pipe"],
    });
    this.ended = new Promise((done) => this.child.once("exit", (code, signal) => done(signal ?? code ?? -1)));
    this.child.stdin?.write(`${JSON.stringify(host.config)}\n`);
  }

  async serving(): Promise<void> {
    let text = "";
    await new Promise<void>((done, fail) => {
      this.child.stderr?.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        if (text.includes('"serving"')) done();
      });
      void this.ended.then(() => fail(new Error(text)));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
  }
}
