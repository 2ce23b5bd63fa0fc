import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { FileKind, type TreeFrame, TreeFrameSchema } from "@exai/api/guest";
import { doctorReport } from "@exai/api/host";
import { WorkspaceFiles } from "@exai/api/workspace";
import { Client, Signer, type Workspace } from "@exai/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestImages } from "../support/images.ts";
import { leftoversOf, type StackTraces, tracesOf } from "../support/leftovers.ts";
import { rawPlane } from "../support/raw-plane.ts";
import { type Ran, repository, TestStack } from "../support/stack.ts";

let images: TestImages;
let stack: TestStack;
let traces: StackTraces;
let client: Client;
let workspace: Workspace;
let folder: string;

beforeAll(async () => {
  images = new TestImages();
  images.add("arm", { architecture: "aarch64" });
  images.add("garbled", { kernel: images.blob(Buffer.from("no kernel at all".repeat(99))) });
  stack = await TestStack.start(["--images", images.store], images.enrol);
  traces = tracesOf(stack.home);
  folder = mkdtempSync(join(tmpdir(), "exai-bad-input-"));
  chmodSync(folder, 0o711);
  client = await Client.open({ home: stack.home });
  await stack.must(["ws", "create", "--name", "one", "--memory", "128M", "--disk", "256M"]);
  workspace = await client.workspaces.get("one");
});

afterAll(async () => {
  await client?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
  images?.[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
  expect(leftoversOf(traces)).toEqual([]);
});

/** It failed with one sentence and the code, and made no workspace. */
async function refused(ran: Ran, code: number, says: RegExp): Promise<void> {
  expect(ran.stderr).toMatch(says);
  expect(ran.stderr.trim().split("\n")).toHaveLength(1);
  expect(ran.stderr).toMatch(/^exai: /);
  expect(ran.stdout).toBe("");
  expect(ran.code).toBe(code);
  const alive = JSON.parse((await stack.must(["ws", "ls", "--json"])).stdout) as { name?: string }[];
  expect(alive.map(({ name }) => name)).toEqual(["one"]);
}

describe("a wrong command line", () => {
  it.each([
    [["run", "--bogus", "--", "true"], /unknown option '--bogus'.*--help/],
    [["run"], /missing required argument/],
    [["run", "--memory", "1M", "--", "true"], /memory '1M' is out of range/],
    [["run", "--memory", "10T", "--", "true"], /memory '10T' is out of range/],
    [["run", "--memory", "lots", "--", "true"], /lots/],
    [["run", "--disk", "1K", "--", "true"], /disk '1K' is out of range/],
    [["run", "--cpus", "0", "--", "true"], /cpus '0' is out of range/],
    [["run", "--upload", "/no/such/file", "--", "true"], /the upload '\/no\/such\/file' does not exist/],
    [["run", "--image", "nothing", "--", "true"], /there is no image 'nothing'; there is .*base/],
    [["run", "--name", "two\nlines", "--", "true"], /name/],
    [["run", "--label", "a\nb=c", "--", "true"], /label/i],
    [["run", "--env", "A B", "--", "true"], /'A B' is not the name of an environment variable/],
    [["exec", "nobody", "--", "true"], /there is no workspace 'nobody'/],
  ] as const)("exai %j", async (args, says) => {
    await refused(await stack.exai(args), 125, says);
  });

  it("a command that does not exist", async () => {
    await refused(await stack.exai(["fly"]), 2, /unknown command 'fly'.*--help/);
  });

  it("more memory than the host has", async () => {
    await refused(await stack.exai(["run", "--memory", "256G", "--", "true"]), 125, /do not fit|not fit/);
  });

  it("an image of another architecture", async () => {
    await refused(
      await stack.exai(["run", "--image", "arm", "--", "true"]),
      125,
      /is for aarch64, this host is x86_64/,
    );
  });

  it("an image whose kernel is none", async () => {
    await refused(
      await stack.exai(["run", "--image", "garbled", "--", "true"]),
      125,
      /the image's kernel is no uncompressed 64-bit ELF file/,
    );
  });

  it("a local port that is in use", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((done) => taken.once("listening", done));
    const { port } = taken.address() as { port: number };
    const ran = await stack.exai(["forward", "one", `8000:${port}`]);
    taken.close();
    await refused(ran, 1, new RegExp(`port ${port} on 127.0.0.1 is in use; choose another with PORT:LOCAL`));
  });
});

it("refuses an unknown key in a request, and names it", async () => {
  const { profile, signingKey, publicKey } = client.loaded;
  const signer = new Signer({ tenant: profile.tenant, signingKey, publicKey, actor: "test" });
  const body = JSON.stringify({ intent: "a.b.c", priority: "high" });
  const [status, text] = await new Promise<[number, string]>((done, fail) => {
    const call = request(
      {
        socketPath: profile.control.slice("unix:".length),
        path: "/v1/workspaces",
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${signer.mintControlToken()}` },
      },
      (answer) => {
        let all = "";
        answer.on("data", (chunk: Buffer) => {
          all += chunk.toString("utf8");
        });
        answer.on("end", () => done([answer.statusCode ?? 0, all]));
      },
    );
    call.on("error", fail);
    call.end(body);
  });
  expect(status).toBe(400);
  expect(text).toMatch(/priority/);
});

describe("a hostile tree for the guest", () => {
  type Entry = { path: string; kind: FileKind; linkTarget?: string };
  const frames = (entry: Entry): TreeFrame[] => {
    const { path, kind, linkTarget = "" } = entry;
    const value = { path: Buffer.from(path), kind, mode: 0o755, linkTarget: Buffer.from(linkTarget) };
    return [
      create(TreeFrameSchema, { frame: { case: "root", value: { path: Buffer.from("/home/user/tree") } } }),
      create(TreeFrameSchema, {
        frame: { case: "entry", value: { path: Buffer.from(""), kind: FileKind.DIRECTORY, mode: 0o755 } },
      }),
      create(TreeFrameSchema, { frame: { case: "entry", value } }),
      create(TreeFrameSchema, { frame: { case: "end", value: {} } }),
    ];
  };

  it.each([
    ["..", { path: "../escaped", kind: FileKind.FILE }],
    [".. in the middle", { path: "a/../../escaped", kind: FileKind.FILE }],
    ["an absolute name", { path: "/home/user/escaped", kind: FileKind.FILE }],
    ["an absolute link", { path: "link", kind: FileKind.SYMLINK, linkTarget: "/etc" }],
    ["a link that leads out", { path: "link", kind: FileKind.SYMLINK, linkTarget: "../../escaped" }],
    ["a device", { path: "device", kind: FileKind.OTHER }],
  ])("with %s is refused", async (_what, entry) => {
    const { endpoint } = (await workspace.refresh()).record;
    if (endpoint === undefined) throw new Error("no endpoint");
    using plane = rawPlane({ endpoint, client, workspace: workspace.id });
    const files = createClient(WorkspaceFiles, plane.transport);
    async function* stream() {
      yield* frames(entry);
    }
    const error = await files.writeTree(stream()).then(
      () => undefined,
      (cause: unknown) => ConnectError.from(cause),
    );
    expect(error?.code).toBe(Code.InvalidArgument);
    const found = await workspace.run(["sh", "-c", "ls -A /home/user /home/user/tree; rm -rf /home/user/tree"]);
    expect(found.stdout.toString()).not.toMatch(/escaped|link|device|exai-tmp/);
  });

  it("whose link leads out is not even sent", async () => {
    mkdirSync(join(folder, "links"));
    symlinkSync("/etc/passwd", join(folder, "links", "bad"));
    const ran = await stack.exai(["cp", join(folder, "links"), "one:links"]);
    await refused(ran, 1, /the link bad leads out of the tree/);
  });
});

describe("a hostile tree from the guest", () => {
  const download = (name: string) => stack.exai(["cp", `one:${name}`, join(folder, name)]);
  const inGuest = async (script: string) => {
    const { code, stderr } = await workspace.run(["sh", "-c", script], { user: "root" });
    if (code !== 0) throw new Error(stderr.toString());
  };

  it.each([
    ["absolute", "ln -s /etc/passwd"],
    ["escaping", "ln -s ../../../etc/passwd"],
  ])("with an %s link is refused, and nothing of it stays", async (name, link) => {
    await inGuest(
      `mkdir -p /home/user/${name}/sub && echo x > /home/user/${name}/a && ${link} /home/user/${name}/sub/bad`,
    );
    await refused(await download(name), 1, /leads out of the tree|which leaves it/);
    expect(readdirSync(folder).filter((each) => each.includes(name) || each.includes("partial"))).toEqual([]);
  });

  it("comes without its devices, which are counted", async () => {
    await inGuest(
      "mkdir /home/user/devices && cd /home/user/devices && mknod null c 1 3 && mkfifo pipe && echo x > file",
    );
    const ran = await stack.must(["cp", "--json", "one:devices", join(folder, "devices")]);
    expect(JSON.parse(ran.stdout)).toMatchObject({ files: 1, skipped: 2 });
    expect(readdirSync(join(folder, "devices"))).toEqual(["file"]);
  });

  it("keeps names with newlines both ways, and shows them escaped", async () => {
    const name = "two\nlines \x1b[31m";
    mkdirSync(join(folder, "names"));
    writeFileSync(join(folder, "names", name), "content");
    await stack.must(["cp", join(folder, "names"), "one:names"]);
    await stack.must(["cp", "one:names", join(folder, "back")]);
    expect(readdirSync(join(folder, "back"))).toEqual([name]);
    expect(readFileSync(join(folder, "back", name), "utf8")).toBe("content");
    const missing = await stack.exai(["cp", "one:no\nsuch\x1b[31m", folder]);
    await refused(missing, 1, /no\\x0asuch\\x1b|no\\nsuch/);
  });
});

describe("a host that can't run a stack", () => {
  it("without root", () => {
    const home = join(folder, "not-root");
    // The other user may read everything, so that the checkout can lie anywhere; it is not root all the same.
    const readAll = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
    const argv = ["--reuid=65534", "--regid=65534", "--clear-groups", ...readAll, join(repository, "exai"), "up", "-d"];
    const ran = spawnSync("setpriv", argv, {
      encoding: "utf8",
      env: { ...process.env, EXAI_HOME: home, HOME: "/nonexistent" },
    });
    expect(ran.status).toBe(1);
    expect(ran.stderr).toMatch(/^exai: starting a stack needs root, .*use sudo\n$/);
    expect(existsSync(home)).toBe(false);
  });

  it("with a home of a newer version", () => {
    const home = mkdtempSync(join(tmpdir(), "exai-newer-"));
    try {
      const text = `${JSON.stringify({ version: 99, stack: "abcdefgh", createdAt: new Date(0).toISOString() })}\n`;
      writeFileSync(join(home, "home.json"), text);
      const ran = spawnSync(join(repository, "exai"), ["up", "-d"], {
        encoding: "utf8",
        env: { ...process.env, EXAI_HOME: home },
      });
      expect(ran.status).toBe(1);
      expect(ran.stderr).toMatch(
        /^exai: .* was written by a newer exai \(format 99, this one knows 1\); use that version\n$/,
      );
      expect(readdirSync(home)).toEqual(["home.json"]);
      expect(readFileSync(join(home, "home.json"), "utf8")).toBe(text);
    } finally {
      rmSync(home, { recursive: true });
    }
  });

  it("for production: it is refused in one sentence with the checks that it fails, and keeps nothing", () => {
    const home = join(folder, "production");
    const exai = (args: string[]) =>
      spawnSync(join(repository, "exai"), args, { encoding: "utf8", env: { ...process.env, EXAI_HOME: home } });
    const looked = exai(["doctor", "--production", "--images", images.store, "--json"]);
    const { checks, ok } = doctorReport.parse(JSON.parse(looked.stdout));
    const failed = checks.filter(({ severity, status }) => severity === "fail" && /^(fail|unknown)$/.test(status));
    expect([ok, looked.status]).toEqual(failed.length === 0 ? [true, 0] : [false, 1]);
    const ran = exai(["up", "-d", "--production", "--images", images.store]);
    if (ok) {
      exai(["down", "--purge"]);
      return void expect(ran.status).toBe(0);
    }
    const ids = failed.map(({ id }) => id).join(", ");
    const how = "'exai doctor --production' says why and what to do";
    const what = failed.length === 1 ? "a check" : `${failed.length} checks`;
    expect(ran.stderr).toBe(`exai: this host fails ${what} for production: ${ids}; ${how}\n`);
    expect([ran.status, ran.stdout, existsSync(home)]).toEqual([1, "", false]);
  });

  it("without a stack: run says how to start one", () => {
    const env = { ...process.env, EXAI_HOME: join(folder, "nothing") };
    const ran = spawnSync(join(repository, "exai"), ["run", "--", "true"], { encoding: "utf8", env });
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/^exai: there is no stack in .*; start one with 'exai up -d'\n$/);
    expect(existsSync(env.EXAI_HOME)).toBe(false);
  });
});

it("left no device behind on this host", () => {
  expect(execFileSync("find", [folder, "-type", "b,c,p,s"], { encoding: "utf8" })).toBe("");
});
