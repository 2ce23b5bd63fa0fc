import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { leftovers, newLeftovers } from "../support/leftovers.ts";
import { type RunOptions, repository, TestStack } from "../support/stack.ts";

/** The CLI as a person uses it, on a real stack with real microVMs. */

let stack: TestStack;
let folder: string;
let before: string[];
beforeAll(async () => {
  before = leftovers();
  folder = mkdtempSync(join(tmpdir(), "exai-cli-e2e-"));
  stack = await TestStack.start();
});
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
  expect(newLeftovers(before)).toEqual([]);
});

const exai = (args: readonly string[], options?: RunOptions) => stack.exai(args, options);
const live = async () => JSON.parse((await stack.must(["ws", "ls", "--json"])).stdout) as unknown[];

/** Everything below a folder that a copy must keep. */
function digest(root: string): string {
  const hash = createHash("sha256");
  const add = (path: string, name: string) => {
    const stat = lstatSync(path);
    hash.update(`${name}\0${stat.mode & 0o777}\0${Math.floor(stat.mtimeMs)}\0`);
    if (stat.isSymbolicLink()) hash.update(readlinkSync(path));
    else if (stat.isFile()) hash.update(readFileSync(path));
    else for (const each of readdirSync(path).sort()) add(join(path, each), `${name}/${each}`);
  };
  add(root, "");
  return hash.digest("hex");
}

/** Starts the CLI and waits until it has printed a text. */
function started(args: readonly string[], text: string) {
  const child = stack.spawn(args);
  let seen = "";
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const printed = new Promise<void>((resolve, reject) => {
    const look = (data: Buffer) => {
      seen += data.toString();
      if (seen.includes(text)) resolve();
    };
    child.stdout?.on("data", look);
    child.stderr?.on("data", look);
    void ended.then(() => reject(new Error(`it ended before '${text}': ${seen}`)));
  });
  return { child, printed, ended, output: () => seen };
}

describe("exai run", () => {
  it.each([
    [["true"], 0],
    [["sh", "-c", "exit 3"], 3],
    [["sh", "-c", "kill -9 $$"], 137],
    [["/no/such/program"], 127],
    [["/etc/passwd"], 126],
  ] as const)("%j ends with %i and leaves nothing", async (argv, code) => {
    expect([(await exai(["run", "--", ...argv])).code, await live()]).toEqual([code, []]);
  });

  it("ends with 124 after TERM, and after KILL where TERM is ignored", async () => {
    const term = await exai([
      "run",
      "--timeout",
      "1s",
      "--",
      "sh",
      "-c",
      "trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done",
    ]);
    expect([term.code, term.stdout]).toEqual([124, "bye\n"]);
    const kill = await exai(["run", "--timeout", "1s", "--", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]);
    expect(kill.code).toBe(124);
  });

  it("keeps streams apart, passes input, environment, user and folder, and sums up", async () => {
    const script = "cat; echo $A; id -un; pwd; echo e >&2";
    const args = ["--json", "-i", "--env", "A=x y", "--user", "root", "--cwd", "/tmp", "--memory", "256M"];
    const ran = await exai(["run", ...args, "--", "sh", "-c", script], { input: "in\n" });
    const lines = ran.stdout.trimEnd().split("\n");
    expect([lines.slice(0, -1), ran.stderr]).toEqual([["in", "x y", "root", "/tmp"], "e\n"]);
    const summary = JSON.parse(lines.at(-1) ?? "");
    expect(summary).toMatchObject({
      vmm: "qemu",
      exitCode: 0,
      kernel: expect.any(String),
      accelerator: expect.any(String),
    });
    for (const name of ["admitMs", "bootMs", "readyMs", "execMs", "destroyMs", "totalMs"]) {
      expect(summary.timings[name]).toBeGreaterThan(0);
    }
  });

  it("uploads, works and downloads", async () => {
    mkdirSync(join(folder, "job"));
    writeFileSync(join(folder, "job/data"), "6 7");
    const script = "read a b < data; echo $((a * b)) > result";
    const args = ["--upload", join(folder, "job"), "--cwd", "job", "--download", `job/result:${folder}/result`];
    expect((await exai(["run", ...args, "--", "sh", "-c", script])).code).toBe(0);
    expect(readFileSync(join(folder, "result"), "utf8")).toBe("42\n");
  });

  it("a program that wants the network fails fast, and is told why", async () => {
    const ran = await exai(["run", "--", "curl", "-sS", "https://example.com"]);
    expect([ran.code, ran.stderr]).toEqual([
      6,
      expect.stringMatching(/\nexai: the workspace has no network: no policy allows it\n$/),
    ]);
  });

  it("more than the disk holds is refused, and nothing stays", async () => {
    writeFileSync(join(folder, "huge"), "");
    const { truncateSync } = await import("node:fs");
    truncateSync(join(folder, "huge"), 10 * 2 ** 30);
    const ran = await exai(["run", "--disk", "256M", "--upload", join(folder, "huge"), "--", "true"]);
    expect([ran.code, ran.stderr]).toEqual([125, expect.stringMatching(/^exai: copy to [^\n]+\n$/)]);
    expect(ran.ms).toBeLessThan(30_000);
    expect(await live()).toEqual([]);
  });

  it("Ctrl-C goes to the command first, and then ends everything", async () => {
    const script = "trap 'echo caught' INT; echo on; while :; do sleep 0.1; done";
    const run = started(["run", "--", "sh", "-c", script], "on\n");
    await run.printed;
    run.child.kill("SIGINT");
    while (!run.output().includes("caught")) await new Promise((resolve) => setTimeout(resolve, 20));
    run.child.kill("SIGINT");
    expect([await run.ended, await live()]).toEqual([130, []]);
  });

  it.each([
    [["run", "--memory", "1M", "--", "true"], /memory '1M' is out of range/],
    [["run", "--nope", "--", "true"], /unknown option/],
    [["run", "--upload", "/no/such", "--", "true"], /does not exist/],
    [["run", "--name", "a\nb", "--", "true"], /a name holds/],
    [["run", "--image", "nope", "--", "true"], /no image 'nope'/],
    [["run", "--user", "nobody-here", "--", "true"], /user/],
    [["run", "--memory", "255G", "--", "true"], /exai: /],
  ] as const)("%j is told in one sentence and makes nothing", async (args, message) => {
    const ran = await exai(args);
    expect([ran.code, ran.stderr]).toEqual([125, expect.stringMatching(message)]);
    expect(ran.stderr).toMatch(/^exai: [^\n]+\n$/);
    expect(await live()).toEqual([]);
  });
});

describe("a workspace that stays", () => {
  beforeAll(async () => {
    await stack.must(["ws", "create", "--name", "long", "--memory", "256M", "--label", "team=core"]);
  });
  afterAll(async () => {
    await stack.must(["ws", "rm", "long"]);
    expect(await live()).toEqual([]);
  });

  it("copies trees both ways, whole", async () => {
    const tree = join(folder, "tree");
    mkdirSync(join(tree, "a/b c/d"), { recursive: true });
    writeFileSync(join(tree, "a/b c/new\nline"), "x".repeat(100_000));
    writeFileSync(join(tree, "a/big"), Buffer.alloc(9_000_001, "0123456789abcdef"));
    writeFileSync(join(tree, "a/empty"), "");
    chmodSync(join(tree, "a/big"), 0o750);
    symlinkSync("../a/big", join(tree, "a/link"));
    chmodSync(join(tree, "a/b c/d"), 0o500);
    await stack.must(["cp", tree, "long:copy"]);
    await stack.must(["cp", "long:copy", join(folder, "back")]);
    expect(digest(join(folder, "back"))).toBe(digest(tree));
    const sum = (await stack.must(["exec", "long", "--", "sha256sum", "copy/a/big"])).stdout.slice(0, 64);
    expect(sum).toBe(
      createHash("sha256")
        .update(readFileSync(join(tree, "a/big")))
        .digest("hex"),
    );
    await stack.must(["cp", tree, "long:/tmp/"]);
    expect((await stack.must(["exec", "long", "--", "ls", "/tmp/tree"])).stdout).toBe("a\n");
  });

  it("copies streams", async () => {
    await stack.must(["cp", "-", "long:note"], { input: "hello\n" });
    expect((await stack.must(["cp", "long:note", "-"])).stdout).toBe("hello\n");
  });

  it("refuses links that lead out, both ways", async () => {
    mkdirSync(join(folder, "evil"));
    symlinkSync("/etc/passwd", join(folder, "evil/l"));
    expect((await exai(["cp", join(folder, "evil"), "long:evil"])).stderr).toMatch(/leads out of the tree/);
    await stack.must(["exec", "long", "--", "sh", "-c", "mkdir -p bad && ln -sf ../../etc bad/l"]);
    expect((await exai(["cp", "long:bad", join(folder, "bad")])).stderr).toMatch(/leads out of the tree/);
    expect(readdirSync(folder)).not.toContain("bad");
  });

  it("a client that is killed does not kill its program, and another attaches at the first byte", async () => {
    const run = started(["exec", "long", "--", "sh", "-c", "echo one; sleep 2; echo two; exit 5"], "one\n");
    await run.printed;
    run.child.kill("SIGKILL");
    await run.ended;
    const all = JSON.parse((await stack.must(["ps", "long", "--json"])).stdout) as { id: number; argv: string[] }[];
    const entry = all.find((each) => each.argv.includes("echo one; sleep 2; echo two; exit 5"));
    const attached = await exai(["attach", "long", String(entry?.id)]);
    expect([attached.code, attached.stdout]).toEqual([5, "one\ntwo\n"]);
  });

  it("a channel that is killed costs no byte", async () => {
    const run = started(
      ["exec", "long", "--", "sh", "-c", "for i in $(seq 1 40); do echo line $i; sleep 0.1; done"],
      "line 5\n",
    );
    await run.printed;
    const status = JSON.parse((await stack.must(["status", "--json"])).stdout) as {
      processes: { name: string; pid: number }[];
    };
    process.kill(status.processes.find((each) => each.name.startsWith("channel"))?.pid ?? 0, "SIGKILL");
    expect(await run.ended).toBe(0);
    expect(run.output()).toBe(Array.from({ length: 40 }, (_, at) => `line ${at + 1}\n`).join(""));
  });

  it("starts programs that nobody waits for", async () => {
    const pid = (await stack.must(["exec", "-d", "long", "--", "sh", "-c", "echo x; exit 9"])).stdout.trim();
    expect((await exai(["attach", "long", pid])).code).toBe(9);
    expect((await stack.must(["ps", "-a", "long"])).stdout).toMatch(new RegExp(`\n${pid} .*exited 9`));
  });

  it("large input and output pass, with back-pressure", async () => {
    const input = Buffer.alloc(20_000_000, "some text that is long enough ");
    const ran = await exai(["exec", "-i", "long", "--", "sha256sum"], { input });
    expect(ran.stdout.slice(0, 64)).toBe(createHash("sha256").update(input).digest("hex"));
    const out = await exai(["exec", "long", "--", "head", "-c", "20000000", "/dev/zero"]);
    expect(out.stdout.length).toBe(20_000_000);
  });

  it("forwards a port", async () => {
    await stack.must([
      "exec",
      "-d",
      "long",
      "--cwd",
      "/etc",
      "--",
      "python3",
      "-m",
      "http.server",
      "8000",
      "--bind",
      "127.0.0.1",
    ]);
    const forward = started(["forward", "long", "8000:0", "--json"], "}\n");
    await forward.printed;
    const port = Number(/:(\d+)"/.exec(forward.output())?.[1]);
    let page = "";
    for (let tries = 0; tries < 50 && !page.includes("200 OK"); tries++) page = await fetchRaw(port);
    expect(page).toMatch(/200 OK[\s\S]*root:x:0/);
    const busy = await exai(["forward", "long", `8000:${port}`]);
    expect([busy.code, busy.stderr]).toEqual([1, expect.stringMatching(/is in use; choose another/)]);
    forward.child.kill("SIGINT");
    expect(await forward.ended).toBe(0);
  });

  it("gives a real terminal", async () => {
    const ran = await exai(["exec", "-t", "long", "--", "sh", "-c", "tty; stty size"]);
    expect(ran.stdout).toMatch(/^\/dev\/pts\/\d+\r\n24 80\r\n$/);
  });

  it("takes a person's terminal, and gives it back as it was", async () => {
    const typed = 'echo "[$(stty size)]"; printf "a\\nb"; exit 6\n';
    const inside = "stty rows 31 cols 99; stty -g; ./exai shell long; echo code $?; stty -g";
    const ran = await inTerminal(inside, typed);
    expect(ran).toContain("[31 99]");
    expect(ran).toContain("code 6");
    const modes = ran.match(/^[0-9a-f]+(:[0-9a-f]+){10,}\r?$/gm) ?? [];
    expect([modes.length, modes[1]]).toEqual([2, modes[0]]);
  });

  it("says of a workspace whether its CPU has a core of its own, as status and doctor do of the host", async () => {
    const floor = JSON.parse((await stack.must(["status", "--json"])).stdout).broker.floor;
    const { observed } = JSON.parse((await stack.must(["ws", "inspect", "long", "--json"])).stdout);
    expect(observed.phase).toBe("running");
    expect(observed.notEnforced.includes("core floor")).toBe(!floor.enforced);
    if (!floor.enforced) expect((await stack.must(["status"])).stdout).toContain("floor not enforced");
  });

  it("shows console and events, and lives through stop and start", async () => {
    expect((await stack.must(["ws", "logs", "long"])).stdout).toContain("exai-guest: ready");
    await stack.must(["cp", "-", "long:kept"], { input: "kept" });
    await stack.must(["ws", "stop", "long"]);
    expect((await exai(["exec", "long", "--", "true"])).stderr).toMatch(/is stopped; start it with/);
    await stack.must(["ws", "start", "long"]);
    expect((await stack.must(["exec", "long", "--", "cat", "kept"])).stdout).toBe("kept");
    const events = (await stack.must(["events", "--json", "--workspace", "long"])).stdout.trim().split("\n");
    const actions = new Set(events.map((line) => (JSON.parse(line) as { action: string }).action));
    for (const action of ["workspace.create", "process.start", "file.write", "workspace.stop"])
      expect(actions).toContain(action);
  });
});

/** A shell line in a terminal of its own (script, of Debian's bsdutils); `typed` follows once a prompt is there. */
async function inTerminal(line: string, typed: string): Promise<string> {
  const child = spawn("script", ["-qec", line, "/dev/null"], {
    cwd: repository,
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], EXAI_HOME: stack.home, TERM: "xterm" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let seen = "";
  child.stdout.on("data", (data: Buffer) => {
    const before = seen.includes("$");
    seen += data.toString();
    if (!before && seen.includes("$")) child.stdin.write(typed);
  });
  await new Promise((resolve) => child.once("close", resolve));
  return seen;
}

/** One HTTP/1.0 request; empty while nothing listens. */
async function fetchRaw(port: number): Promise<string> {
  await new Promise((resolve) => setTimeout(resolve, 100));
  const socket = connect(port, "127.0.0.1");
  const parts: Buffer[] = [];
  socket.on("error", () => undefined);
  socket.write("GET /passwd HTTP/1.0\r\n\r\n");
  try {
    for await (const part of socket as AsyncIterable<Buffer>) parts.push(part);
  } catch {
    return "";
  }
  return Buffer.concat(parts).toString();
}
