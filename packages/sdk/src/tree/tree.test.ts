import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { FileKind, type TreeEntrySchema, type TreeFrame, TreeFrameSchema } from "@exai/api/guest";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { packTree } from "./pack.ts";
import { unpackTree } from "./unpack.ts";

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "exai-tree-"));
});
afterEach(() => {
  rmSync(base, { recursive: true, force: true });
});

type EntryInit = MessageInitShape<typeof TreeEntrySchema>;
const entry = (path: string, kind: FileKind, rest: Partial<EntryInit> = {}): TreeFrame =>
  create(TreeFrameSchema, {
    frame: { case: "entry", value: { path: Buffer.from(path, "latin1"), kind, mode: 0o644, ...rest } as EntryInit },
  });
const folder = (path: string) => entry(path, FileKind.DIRECTORY, { mode: 0o755 });
const link = (path: string, target: string) => entry(path, FileKind.SYMLINK, { linkTarget: Buffer.from(target) });
const file = (path: string, size: number) => entry(path, FileKind.FILE, { sizeBytes: BigInt(size) });
const data = (text: string) => create(TreeFrameSchema, { frame: { case: "data", value: Buffer.from(text) } });
const end = (files: number, directories: number, links: number, bytes: number) =>
  create(TreeFrameSchema, {
    frame: {
      case: "end",
      value: { files: BigInt(files), directories: BigInt(directories), links: BigInt(links), bytes: BigInt(bytes) },
    },
  });

async function* stream(frames: readonly TreeFrame[]): AsyncGenerator<TreeFrame> {
  yield* frames;
}

/** Everything below a folder, as text that can be compared. */
function listing(root: string, at = ""): string[] {
  const path = join(root, at);
  const stat = lstatSync(path);
  const mtime = Math.round(stat.mtimeMs);
  const head = `${at} ${(stat.mode & 0o777).toString(8)} ${mtime}`;
  if (stat.isSymbolicLink()) return [`${at} -> ${readlinkSync(path)}`];
  if (stat.isFile()) return [`${head} ${readFileSync(path).toString("base64")}`];
  return [
    head,
    ...readdirSync(path)
      .sort()
      .flatMap((name) => listing(root, join(at, name))),
  ];
}

describe("a tree, packed and unpacked", () => {
  it("keeps content, modes, times and links, and leaves out what is none of these", async () => {
    const source = join(base, "source");
    mkdirSync(join(source, "sub/deep"), { recursive: true });
    writeFileSync(join(source, "big"), Buffer.alloc(700_001, "0123456789"));
    writeFileSync(join(source, "sub/new\nline"), "x");
    writeFileSync(join(source, "sub/empty"), "");
    symlinkSync("../big", join(source, "sub/link"));
    chmodSync(join(source, "big"), 0o751);
    utimesSync(join(source, "big"), 1_600_000_000.123, 1_600_000_000.123);
    chmodSync(join(source, "sub/deep"), 0o500);
    utimesSync(join(source, "sub"), 1_500_000_000, 1_500_000_000);
    const target = join(base, "target");
    const seen: number[] = [];
    const done = await unpackTree(packTree(source, { destination: "/x", onProgress: (p) => seen.push(p.bytes) }), {
      destination: target,
    });
    expect(listing(target)).toEqual(listing(source));
    expect(done).toMatchObject({ files: 3, directories: 3, links: 1, bytes: 700_002 });
    expect(seen.at(-1)).toBe(700_002);
  });

  it("is the same for any tree", async () => {
    const name = fc
      .string({ minLength: 1, maxLength: 12 })
      .filter((text) => !/[/\0]/.test(text) && text !== "." && text !== "..");
    const tree = fc.dictionary(
      name,
      fc.oneof(fc.uint8Array({ maxLength: 50 }), fc.dictionary(name, fc.uint8Array(), { maxKeys: 4 })),
      { maxKeys: 6 },
    );
    let round = 0;
    await fc.assert(
      fc.asyncProperty(tree, async (content) => {
        const [source, target] = [join(base, `s${round}`), join(base, `t${round++}`)];
        const write = (at: string, node: object) => {
          mkdirSync(at);
          for (const [key, value] of Object.entries(node)) {
            if (value instanceof Uint8Array) writeFileSync(join(at, key), value);
            else write(join(at, key), value);
          }
        };
        write(source, content);
        await unpackTree(packTree(source, { destination: "/x" }), { destination: target });
        expect(listing(target)).toEqual(listing(source));
      }),
      { numRuns: 40 },
    );
  });

  it("copies a single file, over an old one too", async () => {
    writeFileSync(join(base, "a"), "new");
    writeFileSync(join(base, "b"), "old");
    await unpackTree(packTree(join(base, "a"), { destination: "/x" }), { destination: join(base, "b") });
    expect(readFileSync(join(base, "b"), "utf8")).toBe("new");
    expect(readdirSync(base).sort()).toEqual(["a", "b"]);
  });

  it("merges into a folder that is there, and keeps what else it holds", async () => {
    mkdirSync(join(base, "s"));
    writeFileSync(join(base, "s/a"), "new");
    mkdirSync(join(base, "t"));
    writeFileSync(join(base, "t/a"), "old");
    writeFileSync(join(base, "t/b"), "kept");
    await unpackTree(packTree(join(base, "s"), { destination: "/x" }), { destination: join(base, "t") });
    expect([readFileSync(join(base, "t/a"), "utf8"), readFileSync(join(base, "t/b"), "utf8")]).toEqual(["new", "kept"]);
    expect(readdirSync(join(base, "t")).sort()).toEqual(["a", "b"]);
  });

  it("says which file changed while it was read", async () => {
    const path = join(base, "growing");
    writeFileSync(path, Buffer.alloc(1_000_000));
    const read = async () => {
      for await (const frame of packTree(path, { destination: "/x" })) {
        if (frame.frame.case === "data") truncateSync(path, 300_000);
      }
    };
    await expect(read()).rejects.toThrow(/growing changed while it was read/);
  });

  it("refuses to send a link that leads out, before anything else", async () => {
    mkdirSync(join(base, "s"));
    writeFileSync(join(base, "s/a"), "x");
    symlinkSync("/etc/passwd", join(base, "s/z"));
    const frames: TreeFrame[] = [];
    const read = async () => {
      for await (const frame of packTree(join(base, "s"), { destination: "/x" })) frames.push(frame);
    };
    await expect(read()).rejects.toThrow(/link z leads out/);
    expect(frames).toEqual([]);
    await expect(packTree(join(base, "none"), { destination: "/x" }).next()).rejects.toThrow(/does not exist/);
  });
});

describe("a hostile tree", () => {
  const hostile: Record<string, readonly TreeFrame[]> = {
    "steps up": [folder(""), file("../evil", 0)],
    absolute: [folder(""), file("/evil", 0)],
    "dot parts": [folder(""), file("a/../../evil", 0)],
    "a NUL": [folder(""), file("a\0b", 0)],
    "a long name": [folder(""), file("a".repeat(256), 0)],
    "a child of a link": [folder(""), link("l", "x"), file("l/evil", 0)],
    "a child of a file": [folder(""), file("f", 0), file("f/evil", 0)],
    "no parent": [folder(""), file("missing/evil", 0)],
    "an absolute link": [folder(""), link("l", "/etc")],
    "a link up": [folder(""), link("l", "..")],
    "a link that hides a step up": [folder(""), folder("a"), link("a/l", ".."), link("m", "a/l/../..")],
    "a root link": [link("", "x")],
    "the same name twice": [folder(""), file("a", 0), file("a", 0)],
    "a device": [folder(""), entry("d", FileKind.OTHER)],
    "an unknown kind": [folder(""), entry("d", 99 as FileKind)],
    "too much content": [folder(""), file("a", 1), data("ab")],
    "too little content": [folder(""), file("a", 5), data("ab"), end(1, 1, 0, 2)],
    "content of nothing": [folder(""), data("ab")],
    "a second root": [folder(""), folder("")],
    "no root first": [file("a", 0)],
    "no end": [folder(""), file("a", 0)],
    nothing: [],
    "a wrong sum": [folder(""), file("a", 0), end(2, 1, 0, 0)],
    "more after the end": [folder(""), end(0, 1, 0, 0), file("a", 0)],
  };

  it.each(Object.keys(hostile))("with %s fails and leaves nothing", async (name) => {
    const outside = join(base, "outside");
    mkdirSync(outside);
    await expect(unpackTree(stream(hostile[name] ?? []), { destination: join(outside, "target") })).rejects.toThrow();
    expect(readdirSync(outside)).toEqual([]);
    expect(readdirSync(base)).toEqual(["outside"]);
  });

  it("never writes through a link that lies in the folder already", async () => {
    mkdirSync(join(base, "t"));
    mkdirSync(join(base, "victim"));
    writeFileSync(join(base, "secret"), "old");
    symlinkSync("../victim", join(base, "t/sub"));
    symlinkSync("../secret", join(base, "t/a"));
    const through = [folder(""), folder("sub"), file("sub/evil", 0), end(1, 2, 0, 0)];
    await expect(unpackTree(stream(through), { destination: join(base, "t") })).rejects.toThrow(/in the way/);
    expect(readdirSync(join(base, "victim"))).toEqual([]);
    await unpackTree(stream([folder(""), file("a", 3), data("new"), end(1, 1, 0, 3)]), {
      destination: join(base, "t"),
    });
    expect(readFileSync(join(base, "secret"), "utf8")).toBe("old");
    expect(lstatSync(join(base, "t/a")).isFile()).toBe(true);
  });

  it("drops set-uid bits", async () => {
    const frames = [folder(""), entry("su", FileKind.FILE, { mode: 0o6755 }), end(1, 1, 0, 0)];
    await unpackTree(stream(frames), { destination: join(base, "t") });
    expect(lstatSync(join(base, "t/su")).mode & 0o7777).toBe(0o755);
  });

  it("writes nothing outside, whatever the entries are", async () => {
    const part = fc.constantFrom("a", "b", "..", ".", "", "l", "\0");
    const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
    const frame = fc.oneof(
      path.map(folder),
      path.map((each) => file(each, 1)),
      fc.constant(data("x")),
      fc.tuple(path, path).map(([from, to]) => link(from, to)),
    );
    let round = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { maxLength: 12 }), async (frames) => {
        const cage = join(base, `c${round++}`);
        mkdirSync(cage);
        await unpackTree(stream([folder(""), ...frames]), { destination: join(cage, "t") }).catch(() => undefined);
        expect(readdirSync(cage)).toEqual([]);
      }),
      { numRuns: 300 },
    );
    expect(readdirSync(base).every((name) => /^c\d+$/.test(name))).toBe(true);
    expect(existsSync("/a")).toBe(false);
  });
});
