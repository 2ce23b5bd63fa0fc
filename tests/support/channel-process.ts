import { type ChildProcess, spawn } from "node:child_process";
import { join, resolve } from "node:path";
import type { Stand } from "../../packages/tenant/src/testing/stand.ts";
import type { HostFixture } from "../vm/host-fixture.ts";

const main = resolve(import.meta.dirname, "../../packages/tenant/src/channel/main.ts");

/** The channel process of a host's first tenant: configuration on its input, whose end is its own. */
export class ChannelProcess implements AsyncDisposable {
  readonly child: ChildProcess;
  /** Of its data plane. */
  readonly url: string;
  readonly #ended: Promise<number | string>;

  private constructor(child: ChildProcess, url: string, ended: Promise<number | string>) {
    this.child = child;
    this.url = url;
    this.#ended = ended;
  }

  /** @param stand keys and certificates; one may serve several processes, one after the other */
  static async start(host: HostFixture, stand: Stand): Promise<ChannelProcess> {
    const child = spawn(process.execPath, [main], { env: {}, cwd: "/", stdio: ["pipe", "ignore", "pipe"] });
    const ended = new Promise<number | string>((done) =>
      child.once("exit", (code, signal) => done(signal ?? code ?? -1)),
    );
    const runFolder = join(host.config.runFolder, "t", host.tenants[0]);
    child.stdin.on("error", () => undefined);
    child.stdin.write(`${JSON.stringify({ ...stand.config, runFolder })}\n`);
    let text = "";
    const url = new Promise<string>((done, fail) => {
      child.stderr.on("data", (chunk: Buffer) => {
        if (text.length < 65_536) text += chunk.toString();
        const [, found] = /"url":"([^"]+)"/.exec(text) ?? [];
        if (found !== undefined) done(found);
      });
      void ended.then((how) => fail(new Error(`the channel ended with ${how}: ${text}`)));
    });
    return new ChannelProcess(child, await url, ended);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.#ended;
  }
}
