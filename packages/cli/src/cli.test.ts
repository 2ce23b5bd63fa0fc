import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type StackDouble, startStack } from "@exai/sdk/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cli, startCli } from "./testing/cli.fixture.ts";

let stack: StackDouble;
let folder: string;
beforeAll(async () => {
  stack = await startStack();
  folder = mkdtempSync(join(tmpdir(), "exai-cli-"));
});
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const exai = (args: readonly string[], input: string | Uint8Array = "") => cli(stack.home, args, input);
const live = () => [...stack.control.records.values()].filter((each) => each.desired !== "destroyed");

describe("exai run", () => {
  it.each([
    [["true"], 0],
    [["sh", "-c", "exit 3"], 3],
    [["sh", "-c", "kill -9 $$"], 137],
    [["/no/such/program"], 127],
    [[fileURLToPath(import.meta.url)], 126],
  ] as const)("%j ends with %i", async (argv, code) => {
    const result = await exai(["run", "--", ...argv]);
    expect([result.code, live()]).toEqual([code, []]);
    if (code >= 126 && code <= 127) expect(result.stderr).toMatch(/^exai: the command was not started: .*\n$/);
  });

  it("ends with 124 at the time limit", async () => {
    const result = await exai(["run", "--timeout", "200ms", "--", "sleep", "30"]);
    expect([result.code, result.stderr]).toEqual([124, "exai: the command was ended after its time limit of 0.2 s\n"]);
  });

  it("keeps streams apart, passes input, and prints a summary as the last line", async () => {
    const result = await exai(
      ["run", "-i", "--json", "--env", "A=1", "--", "sh", "-c", "cat; echo $A; echo e >&2; exit 4"],
      "in\n",
    );
    const lines = result.stdout.trimEnd().split("\n");
    expect([lines.slice(0, -1), result.stderr, result.code]).toEqual([["in", "1"], "e\n", 4]);
    const summary = JSON.parse(lines.at(-1) ?? "");
    expect(summary).toMatchObject({ vmm: "qemu", accelerator: "tcg", kernel: "exai 6.1.0", exitCode: 4 });
    expect(Object.keys(summary.timings)).toEqual(["admitMs", "bootMs", "readyMs", "destroyMs", "execMs", "totalMs"]);
  });

  it("options after the command are the command's", async () => {
    expect((await exai(["run", "echo", "--json", "-i"])).stdout).toBe("--json -i\n");
  });

  it("carries files in and out, also when the command fails", async () => {
    mkdirSync(join(folder, "in/sub"), { recursive: true });
    writeFileSync(join(folder, "in/sub/a"), "data");
    const work = "cp sub/a report; exit 5";
    const args = ["--upload", join(folder, "in"), "--download", `in/report:${folder}/report`];
    const result = await exai([
      "run",
      ...args,
      "--cwd",
      join(stack.home, "guest/home/user/in"),
      "--",
      "sh",
      "-c",
      work,
    ]);
    expect([result.code, result.stderr]).toEqual([5, ""]);
    expect(readFileSync(join(folder, "report"), "utf8")).toBe("data");
  });

  it("a download that is not there is told, and the command's failure wins", async () => {
    const one = await exai(["run", "--download", `none:${folder}/x`, "--", "true"]);
    expect([one.code, one.stderr]).toEqual([125, "exai: copy /home/user/none: ENOENT\n"]);
    expect((await exai(["run", "--download", `none:${folder}/x`, "--", "sh", "-c", "exit 9"])).code).toBe(9);
  });

  it("streams as output comes", async () => {
    const run = startCli(stack.home, ["run", "--", "sh", "-c", "echo first; sleep 30"]);
    await run.until("first");
    run.kill("SIGTERM");
    expect([(await run.result).code, live()]).toEqual([143, []]);
  });

  it("a first Ctrl-C is the command's, a second destroys the workspace", async () => {
    const run = startCli(stack.home, [
      "run",
      "--",
      "sh",
      "-c",
      "trap 'echo caught' INT; echo on; while :; do sleep 0.1; done",
    ]);
    await run.until("on");
    run.kill("SIGINT");
    await run.until("caught");
    run.kill("SIGINT");
    expect([(await run.result).code, live()]).toEqual([130, []]);
  });

  it("Ctrl-C while the control plane is at the creation ends it at once, and leaves nothing", async () => {
    const answered = Promise.withResolvers<void>();
    stack.control.creationAnswers = answered.promise;
    try {
      const run = startCli(stack.home, ["run", "--", "true"]);
      await expect.poll(() => live().length, { timeout: 5000 }).toBe(1);
      run.kill("SIGINT");
      expect([(await run.result).code, live()]).toEqual([130, []]);
    } finally {
      stack.control.creationAnswers = undefined;
      answered.resolve();
    }
  });

  it("says that output was lost", async () => {
    stack.channel.processes.droppedBytes = 4;
    const result = await exai(["run", "--", "echo", "one two"]);
    stack.channel.processes.droppedBytes = 0;
    expect([result.stdout, result.code]).toEqual(["two\n", 0]);
    expect(result.stderr).toBe("exai: 4 bytes of output were no longer kept when this client read them\n");
  });

  it("a client that is killed leaves a workspace with an end", async () => {
    const run = startCli(stack.home, ["run", "--timeout", "10m", "--", "sh", "-c", "echo on; sleep 3"]);
    await run.until("on");
    run.kill("SIGKILL");
    await run.result;
    const [left] = live();
    expect(left?.ttlSeconds).toBe(4200);
    expect((await exai(["ws", "rm", left?.id ?? ""])).code).toBe(0);
  });

  it("ends with its reader", async () => {
    const run = startCli(stack.home, ["run", "--", "sh", "-c", "while :; do echo y; sleep 0.02; done"]);
    await run.until("y");
    run.closeOutput();
    expect([(await run.result).code, live()]).toEqual([141, []]);
  });

  it("says that there is no network when that is what failed", async () => {
    const result = await exai(["run", "--", "sh", "-c", "echo 'curl: (6) Could not resolve host: x' >&2; exit 6"]);
    expect(result.stderr).toMatch(/\nexai: the workspace has no network: no policy allows it\n$/);
  });

  it("--keep keeps it", async () => {
    const result = await exai(["run", "--keep", "--name", "kept", "--label", "a=b", "--", "true"]);
    expect([result.code, result.stderr]).toEqual([
      0,
      expect.stringMatching(/kept as kept; remove it with 'exai ws rm /),
    ]);
    expect((await exai(["ws", "rm", "kept"])).code).toBe(0);
  });
});

describe("bad input", () => {
  it.each([
    [["run", "--nope", "--", "true"], 125, /unknown option '--nope'/],
    [["run"], 125, /missing required argument/],
    [["run", "--memory", "1M", "--", "true"], 125, /memory '1M' is out of range/],
    [["run", "--cpus", "99", "--", "true"], 125, /cpus '99' is out of range/],
    [["run", "--upload", "/no/such", "--", "true"], 125, /upload '\/no\/such' does not exist/],
    [["run", "--download", "a:/no/such/b", "--", "true"], 125, /folder \/no\/such\/ does not exist/],
    [["run", "--name", "a\nb", "--", "true"], 125, /name: a name holds/],
    [["run", "--label", "a b=c", "--", "true"], 125, /labels/],
    [["run", "--image", "nope", "--", "true"], 125, /no image 'nope'; there is base/],
    [["run", "--env", "A B=c", "--", "true"], 125, /'A B' is not the name/],
    [
      ["run", "--cwd", "a\u0000b", "--", "true"].slice(0, 1).concat(["--ttl", "x", "--", "true"]),
      125,
      /'x' is not a duration/,
    ],
    [["exec", "nope", "--", "true"], 125, /no workspace 'nope'; see 'exai ws ls'/],
    [["nope"], 2, /unknown command 'nope'/],
    [["ws", "ls", "--nope"], 2, /unknown option '--nope'/],
    [["cp", "a", "b"], 2, /one side must be in a workspace/],
    [["forward", "x", "99999"], 2, /is not a port/],
    [["--tenant", "nobody", "ws", "ls"], 2, /no tenant 'nobody'/],
  ] as const)("%j is told in one sentence", async (args, code, message) => {
    const result = await exai(args);
    expect([result.code, result.stdout]).toEqual([code, ""]);
    expect(result.stderr).toMatch(message);
    expect(result.stderr).toMatch(/^exai: [^\n]+\n$/);
    expect(live()).toEqual([]);
  });

  it("without a stack it says how to start one", async () => {
    const result = await cli(join(folder, "nothing"), ["run", "--", "true"]);
    expect([result.code, result.stderr]).toEqual([
      125,
      `exai: there is no stack in ${folder}/nothing; start one with 'exai up -d'\n`,
    ]);
  });

  it("a boot that fails is told, and nothing stays", async () => {
    stack.control.boot = { phase: "failed", message: "no\nkernel\u001b[2J", afterMs: 10 };
    const result = await exai(["run", "--json", "--", "true"]);
    stack.control.boot = { phase: "running", afterMs: 0 };
    expect([result.code, result.stderr]).toEqual([125, "exai: the workspace is failed: no\\x0akernel\\x1b[2J\n"]);
    expect(JSON.parse(result.stdout)).toMatchObject({ exitCode: 125, error: { code: "failed" } });
    expect(live()).toEqual([]);
  });
});

describe("a long-lived workspace", () => {
  beforeAll(async () => {
    expect((await exai(["ws", "create", "--name", "long", "--label", "team=core"])).code).toBe(0);
  });

  it("is listed, found and shown", async () => {
    const listed = await exai(["ws", "ls"]);
    expect(listed.stdout).toMatch(/^ID +NAME +PHASE .*\n[a-z2-7]{20} +long +running/);
    const [shown] = JSON.parse((await exai(["workspace", "ls", "--json", "--label", "team=core"])).stdout);
    expect(shown).toMatchObject({ name: "long", phase: "running", labels: { team: "core" } });
    const inspected = await exai(["ws", "inspect", shown.id.slice(0, 6), "--json"]);
    expect(JSON.parse(inspected.stdout).id).toBe(shown.id);
    expect((await exai(["ws", "ls", "--label", "team=other", "-q"])).stdout).toBe("");
    expect((await exai(["ws", "logs", "long"])).stdout).toBe("exai-guest: ready\n");
  });

  it("logs as JSON keep characters whole that came in two pieces, and show a half one at the end", async () => {
    const [before, bytes] = [stack.channel.console, Buffer.from("gr\u00fcn \u20ac")];
    stack.channel.console = [bytes.subarray(0, 3), bytes.subarray(3, 6), bytes.subarray(6, 8)];
    const { stdout } = await exai(["ws", "logs", "long", "--json"]);
    stack.channel.console = before;
    const pieces = Buffer.from(stdout, "latin1").toString().trimEnd().split("\n");
    expect(pieces.map((line) => JSON.parse(line).data).join("")).toBe("gr\u00fcn \ufffd");
  });

  it("runs programs, detached and attached again", async () => {
    const started = await exai(["exec", "-d", "long", "--", "sh", "-c", "echo begin; sleep 1; echo done; exit 7"]);
    const pid = started.stdout.trim();
    expect((await exai(["ps", "long"])).stdout).toMatch(new RegExp(`\n${pid} +\\d+ .*running.*echo begin`));
    const attached = await exai(["attach", "long", pid]);
    expect([attached.code, attached.stdout]).toEqual([7, "begin\ndone\n"]);
    expect((await exai(["ps", "-a", "long"])).stdout).toMatch(new RegExp(`\n${pid} .*exited 7`));
    expect((await exai(["attach", "long", "9999"])).code).toBe(127);
  });

  it("takes options on either side of the workspace", async () => {
    expect((await exai(["exec", "long", "-i", "--", "cat", "-"], "in")).stdout).toBe("in");
    expect((await exai(["exec", "-i", "long", "cat", "-"], "in")).stdout).toBe("in");
    expect((await exai(["exec", "long", "--nope", "--", "cat"])).stderr).toMatch(/unknown option '--nope'/);
  });

  it("a killed client leaves the program, and another attaches", async () => {
    const run = startCli(stack.home, ["exec", "long", "--", "sh", "-c", "echo one; sleep 1; echo two"]);
    await run.until("one");
    run.kill("SIGKILL");
    await run.result;
    const entry = JSON.parse((await exai(["ps", "long", "--json"])).stdout).at(-1);
    const attached = await exai(["attach", "long", String(entry.id)]);
    expect([attached.code, attached.stdout]).toEqual([0, "one\ntwo\n"]);
  });

  it("copies trees both ways, and streams", async () => {
    const tree = join(folder, "tree");
    mkdirSync(join(tree, "a/b"), { recursive: true });
    writeFileSync(join(tree, "a/b/x\ny"), Buffer.alloc(400_000, "z"));
    symlinkSync("b", join(tree, "a/l"));
    expect((await exai(["cp", tree, "long:"])).code).toBe(0);
    const back = await exai(["cp", "long:tree", `${folder}/back`, "--json"]);
    expect(JSON.parse(back.stdout)).toMatchObject({ files: 1, links: 1, bytes: 400_000 });
    expect(readFileSync(join(folder, "back/a/b/x\ny"))).toEqual(readFileSync(join(tree, "a/b/x\ny")));
    expect((await exai(["cp", "-", "long:/tmp/note"], "hello")).code).toBe(0);
    expect((await exai(["cp", "long:/tmp/note", "-"])).stdout).toBe("hello");
    symlinkSync("/etc", join(tree, "bad"));
    const refused = await exai(["cp", tree, "long:other"]);
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/^exai: the link bad leads out of the tree/),
    ]);
    expect((await exai(["cp", "long:none", `${folder}/none`])).stderr).toMatch(/^exai: copy \/home\/user\/none: .*\n$/);
  });

  it("forwards a port with half-closes, and says when one is in use", async () => {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const parts: Buffer[] = [];
      socket.on("data", (data: Buffer) => parts.push(data));
      socket.on("end", () => socket.end(Buffer.concat(parts).reverse()));
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const run = startCli(stack.home, ["forward", "long", `${port}:0`, "--json"]);
    await run.until("}");
    const local = Number(/:(\d+)"}/.exec(run.stdout())?.[1]);
    const sent = Buffer.alloc(300_000, "abc");
    expect(await exchange(local, sent)).toEqual(Buffer.from(sent).reverse());
    const busy = await exai(["forward", "long", `${port}:${port}`]);
    expect([busy.code, busy.stderr]).toEqual([
      1,
      `exai: port ${port} on 127.0.0.1 is in use; choose another with PORT:LOCAL\n`,
    ]);
    run.kill("SIGINT");
    expect((await run.result).code).toBe(0);
    server.close();
  });

  it("ends", async () => {
    expect((await exai(["ws", "stop", "long"])).code).toBe(0);
    const stopped = await exai(["exec", "long", "--", "true"]);
    expect([stopped.code, stopped.stderr]).toEqual([
      125,
      "exai: the workspace is stopped; start it with 'exai ws start'\n",
    ]);
    expect((await exai(["ws", "start", "long"])).code).toBe(0);
    expect((await exai(["ws", "rm", "long"])).code).toBe(0);
    expect(live()).toEqual([]);
  });
});

async function exchange(port: number, data: Buffer): Promise<Buffer> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.end(data);
  const parts: Buffer[] = [];
  for await (const part of socket as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts);
}

describe("help", () => {
  it.each([
    "run",
    "ws",
    "exec",
    "shell",
    "ps",
    "attach",
    "cp",
    "forward",
    "events",
    "image",
    "up",
    "down",
    "status",
    "doctor",
    "tenant",
    "version",
  ])("%s --help has examples", async (name) => {
    const result = await exai([name, "--help"]);
    expect([result.code, result.stderr]).toEqual([0, ""]);
    expect(result.stdout).toMatch(/\nExamples?:\n {2}(exai|echo|EXAI_HOME)/);
  });
  it("every leaf command has --json", async () => {
    for (const words of [
      ["run"],
      ["ws", "create"],
      ["ws", "ls"],
      ["ws", "inspect"],
      ["ws", "logs"],
      ["ws", "rm"],
      ["exec"],
      ["ps"],
      ["attach"],
      ["cp"],
      ["forward"],
      ["events"],
      ["image", "ls"],
      ["up"],
      ["down"],
      ["status"],
      ["doctor"],
      ["tenant", "ls"],
      ["version"],
    ]) {
      expect((await exai([...words, "--help"])).stdout).toContain("--json");
    }
  });
});
