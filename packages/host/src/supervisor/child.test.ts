import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@exai/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SupervisedChild } from "./child.ts";
import { LogFile } from "./log-file.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-child-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const quiet = { log: () => undefined };

async function until(condition: () => boolean): Promise<void> {
  for (let n = 0; !condition(); n++) {
    if (n > 400) throw new Error("it never happened");
    await systemClock.sleep(10);
  }
}

describe("SupervisedChild", () => {
  it("hands over the configuration, starts a killed child again with a new one, and leaves nothing", async () => {
    let made = 0;
    const logFile = join(folder, "a.log");
    const script = `process.stdin.once("data", (d) => process.stderr.write("got " + d)); process.stdin.resume();`;
    const child = new SupervisedChild(
      { name: "a", argv: [process.execPath, "-e", script], config: async () => ({ n: ++made }), logFile },
      quiet,
    );
    await until(() => readFileSync(logFile, "utf8").includes(`got {"n":1}`));
    const first = child.state.pid ?? 0;
    process.kill(first, "SIGKILL");
    await until(() => readFileSync(logFile, "utf8").includes(`got {"n":2}`));
    expect(child.state.restarts).toBe(1);
    const second = child.state.pid ?? 0;
    await child[Symbol.asyncDispose]();
    expect(() => process.kill(second, 0)).toThrow(/ESRCH/);
  });
});

describe("LogFile", () => {
  it("never grows beyond two segments", () => {
    const path = join(folder, "b.log");
    using log = new LogFile(path);
    for (let n = 0; n < 3000; n++) log.write(`${"x".repeat(1023)}\n`);
    expect(statSync(path).size + statSync(`${path}.1`).size).toBeLessThanOrEqual(1 << 20);
  });
});

describe("what fails beside a child", () => {
  it("a configuration that can't be made counts as a start that failed, and is tried again", async () => {
    let made = 0;
    const config = async () => {
      if (++made < 3) throw new Error("the host key can't be read");
      return {};
    };
    const argv = [process.execPath, "-e", "process.stdin.resume()"] as const;
    await using child = new SupervisedChild({ name: "b", argv, config, logFile: join(folder, "b.log") }, quiet);
    await until(() => child.state.pid !== undefined);
    expect(child.state.restarts).toBe(2);
  });

  it("a log is bounded over many starts", () => {
    const path = join(folder, "c.log");
    for (let start = 0; start < 6; start++) {
      using log = new LogFile(path);
      for (let n = 0; n < 50; n++) log.write("x".repeat(10_000));
    }
    expect(statSync(path).size).toBeLessThanOrEqual(512 * 1024);
    expect(statSync(`${path}.1`).size).toBeLessThanOrEqual(512 * 1024);
  });

  it("a log that can't be turned loses lines and nothing else", () => {
    using log = new LogFile(join(folder, "d.log"));
    mkdirSync(join(folder, "d.log.1"));
    for (let n = 0; n < 100; n++) log.write("x".repeat(10_000));
    expect(statSync(join(folder, "d.log")).size).toBeLessThanOrEqual(512 * 1024);
  });
});
