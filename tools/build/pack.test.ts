import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { extractKernel } from "./bzimage.ts";
import { cpio } from "./cpio.ts";
import { initramfs } from "./initramfs.ts";
import { lz4Legacy } from "./lz4.ts";
import { moduleDepends, orderModules } from "./modules.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-pack-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Members of a newc archive, read independently of the writer. */
function readCpio(archive: Buffer) {
  const members: { path: string; mode: number; mtime: number; content: string; rdev: string }[] = [];
  for (let at = 0; ; ) {
    expect(archive.toString("ascii", at, at + 6)).toBe("070701");
    const field = (index: number) =>
      Number.parseInt(archive.toString("ascii", at + 6 + index * 8, at + 14 + index * 8), 16);
    const [mode, mtime, size, nameSize] = [field(1), field(5), field(6), field(11)];
    const rdev = `${field(9)}:${field(10)}`;
    const path = archive.toString("utf8", at + 110, at + 110 + nameSize - 1);
    const data = Math.ceil((at + 110 + nameSize) / 4) * 4;
    at = Math.ceil((data + size) / 4) * 4;
    if (path === "TRAILER!!!") return members;
    members.push({ path, mode, mtime, content: archive.toString("utf8", data, data + size), rdev });
  }
}

describe("cpio", () => {
  it("holds folders, files and devices, whatever their sizes", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.stringMatching(/^[a-z]{1,9}$/), fc.string({ maxLength: 9 }))), (files) => {
        const entries = files.map(
          ([path, text]) => ({ path, kind: "file", content: Buffer.from(text), mode: 0o640 }) as const,
        );
        const read = readCpio(cpio([{ path: "dev", kind: "folder" }, ...entries]));
        expect(read.map(({ path, content }) => [path, content])).toEqual([["dev", ""], ...files]);
        expect(read.every(({ mtime }) => mtime === 0)).toBe(true);
      }),
    );
  });

  it("makes an initramfs whose modules load in order", () => {
    const modules = [
      { name: "virtio", content: Buffer.from("A") },
      { name: "erofs", content: Buffer.from("B") },
    ];
    const read = readCpio(initramfs(Buffer.from("agent"), modules));
    expect(read.find(({ path }) => path === "init")).toMatchObject({ mode: 0o100755, content: "agent" });
    expect(read.find(({ path }) => path === "dev/console")).toMatchObject({ mode: 0o020600, rdev: "5:1" });
    expect(read.find(({ path }) => path === "dev/null")).toMatchObject({ mode: 0o020666, rdev: "1:3" });
    const names = read.map(({ path }) => path);
    expect(names.filter((path) => path.startsWith("modules/"))).toEqual([
      "modules/10-virtio.ko",
      "modules/11-erofs.ko",
    ]);
    expect(names).toEqual(expect.arrayContaining(["dev", "proc", "sys", "newroot"]));
    expect(readCpio(initramfs(Buffer.from("agent"))).map(({ path }) => path)).not.toContain("modules");
  });
});

describe("lz4Legacy", () => {
  /** One block of literals, then a match that overlaps itself. */
  const block = Buffer.from([0x35, 97, 98, 99, 3, 0, 0x10, 33]);
  const frame = Buffer.concat([Buffer.from([2, 0x21, 0x4c, 0x18, block.length, 0, 0, 0]), block]);

  it("copies matches that overlap what they write", () => {
    expect(lz4Legacy(frame, 13).toString()).toBe("abcabcabcabc!");
  });

  it("refuses what is cut or does not add up, and never hangs", () => {
    expect(() => lz4Legacy(frame, 14)).toThrow(/broken/);
    expect(() => lz4Legacy(frame, 3)).toThrow(/broken/);
    expect(() => lz4Legacy(frame.subarray(0, -1), 13)).toThrow(/broken/);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const size = Buffer.alloc(4);
        size.writeUInt32LE(bytes.length);
        const random = Buffer.concat([Buffer.from([2, 0x21, 0x4c, 0x18]), size, bytes]);
        try {
          expect(lz4Legacy(random, 64).length).toBe(64);
        } catch (error) {
          expect(error).toMatchObject({ code: "input" });
        }
      }),
    );
  });
});

describe("extractKernel", () => {
  const elf = Buffer.concat([Buffer.from([0x7f, 0x45, 0x4c, 0x46]), Buffer.from("the kernel ".repeat(50))]);
  function image(packed: Buffer, size = elf.length): Buffer {
    const head = Buffer.alloc(1024);
    head[0x1f1] = 1;
    head.write("HdrS", 0x202, "ascii");
    head.writeUInt32LE(packed.length + 4, 0x24c);
    const tail = Buffer.alloc(4);
    tail.writeUInt32LE(size);
    return Buffer.concat([head, packed, tail]);
  }

  /** As the kernel's own build packs it (scripts/xz_wrap.sh). */
  function xz(content: Buffer): Buffer {
    const path = join(folder, "payload");
    writeFileSync(path, content);
    execFileSync("xz", ["--check=crc32", "--x86", "--lzma2", path]);
    return readFileSync(`${path}.xz`);
  }

  it("unpacks what kernels are packed with", async () => {
    for (const packed of [gzipSync(elf), zstdCompressSync(elf), xz(elf)])
      expect((await extractKernel(image(packed))).equals(elf)).toBe(true);
  });

  it("refuses other files", async () => {
    await expect(extractKernel(Buffer.from("no"))).rejects.toThrow(/not a bzImage/);
    await expect(extractKernel(image(gzipSync(elf), 7))).rejects.toThrow(/does not hold an ELF kernel/);
    await expect(extractKernel(image(Buffer.from("BZh9 no")))).rejects.toThrow(/not known here/);
    await expect(extractKernel(image(xz(elf).subarray(0, -9)))).rejects.toMatchObject({ code: "run" });
  });
});

describe("orderModules", () => {
  const module = (depends: string) => Buffer.from(`\x7fELF..license=GPL\0depends=${depends}\0name=x\0`);
  beforeEach(() => {
    mkdirSync(join(folder, "kernel"));
    writeFileSync(join(folder, "modules.builtin"), "kernel/fs/ext4/ext4.ko\n");
    writeFileSync(join(folder, "kernel/virtio_ring.ko"), module(""));
    writeFileSync(join(folder, "kernel/virtio.ko"), module("virtio_ring"));
    writeFileSync(join(folder, "kernel/virtio-rng.ko"), module("virtio,virtio_ring"));
  });

  it("puts each module after those it needs, once, and leaves out built-in ones", () => {
    expect(moduleDepends(module("virtio,virtio-ring"))).toEqual(["virtio", "virtio_ring"]);
    const names = orderModules(folder, ["virtio_rng", "ext4", "virtio"]).map(({ name }) => name);
    expect(names).toEqual(["virtio_ring", "virtio", "virtio_rng"]);
  });

  it("says which module is not there", () => {
    expect(() => orderModules(folder, ["erofs"])).toThrow(/no module 'erofs'/);
  });
});
