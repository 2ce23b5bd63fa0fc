import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { thisHost } from "./facts.ts";
import { requireOwnFile } from "./own-file.ts";

let folder: string;
const at = (name: string): string => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-facts-"));
  chmodSync(folder, 0o755);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("this host", () => {
  it("reads files of /proc, which have no size", () => {
    expect(thisHost.read("/proc/version")).toMatch(/^Linux version/);
    expect(thisHost.list("/proc/self/ns")).toContain("net");
    expect(thisHost.link("/proc/self/exe")).toBe(process.execPath);
  });

  it("has nothing where there is nothing", async () => {
    for (const path of [at("nothing"), "/proc/version/below", "/proc/999999999/status"]) {
      expect([thisHost.read(path), thisHost.list(path), thisHost.link(path), thisHost.stat(path)]).toEqual(
        Array(4).fill(undefined),
      );
      expect(await thisHost.digest(at("nothing"))).toBeUndefined();
      expect(thisHost.opens(path)).toBe(false);
    }
  });

  it("waits for no FIFO, and reads no file without end", () => {
    execFileSync("mkfifo", [at("fifo")]);
    expect(thisHost.read(at("fifo"))).toBe("");
    expect(() => thisHost.read("/dev/zero")).toThrow(/longer than it should be/);
    expect(() => thisHost.read(folder)).toThrow(/EISDIR/);
  });

  it("looks at a link itself", () => {
    symlinkSync("/etc/passwd", at("link"));
    expect(thisHost.stat(at("link"))?.kind).toBe("link");
    expect(thisHost.stat("/etc/passwd")).toMatchObject({ kind: "file", uid: 0, mode: 0o644 });
  });

  it("digests and runs", async () => {
    writeFileSync(at("file"), "abc");
    expect(await thisHost.digest(at("file"))).toMatch(/^ba7816bf.*15ad$/);
    expect(await thisHost.run("/bin/echo", ["one"])).toBe("one");
    await expect(thisHost.run("/bin/false", [])).rejects.toThrow();
  });
});

describe("a program that root executes", () => {
  const program = (name: string, mode = 0o755, uid = 0): string => {
    writeFileSync(at(name), "");
    chmodSync(at(name), mode);
    chownSync(at(name), uid, 0);
    return at(name);
  };

  it("is root's alone, or a link of root's to one that is", () => {
    const good = program("good");
    symlinkSync("good", at("relative"));
    symlinkSync(at("relative"), at("absolute"));
    for (const path of [good, at("relative"), at("absolute")]) requireOwnFile(path);
  });

  it("is refused when somebody else could change it, its folder or the way to it", () => {
    symlinkSync("circle", at("circle"));
    symlinkSync(program("theirs", 0o755, 1000), at("to-theirs"));
    mkdirSync(at("open"));
    chmodSync(at("open"), 0o777);
    writeFileSync(at("open/file"), "");
    const paths = [program("written", 0o757), at("theirs"), at("to-theirs"), at("circle"), at("open/file"), folder];
    for (const path of [...paths, at("nothing")])
      expect(() => requireOwnFile(path)).toThrow(`${path} is no file that root alone can change`);
  });
});
