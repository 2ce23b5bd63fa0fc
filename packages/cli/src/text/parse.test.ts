import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parsePlace } from "../commands/cp.ts";
import { clean } from "./clean.ts";
import * as parse from "./parse.ts";

describe("sizes and times", () => {
  it("takes what is in range", () => {
    expect([
      parse.parseMemory("512M"),
      parse.parseMemory("1.5g"),
      parse.parseDisk("10GiB"),
      parse.parseCpus("2"),
    ]).toEqual([512, 1536, 10_240, 2]);
    expect([parse.parseTimeout("90s"), parse.parseTimeout("5m"), parse.parseTtl("0"), parse.parseTtl("2h")]).toEqual([
      90_000, 300_000, 0, 7200,
    ]);
  });
  it.each([
    () => parse.parseMemory("1M"),
    () => parse.parseMemory("512"),
    () => parse.parseMemory("1T"),
    () => parse.parseMemory("lots"),
    () => parse.parseMemory("-1G"),
    () => parse.parseDisk("1k"),
    () => parse.parseCpus("0"),
    () => parse.parseCpus("1.5"),
    () => parse.parseCpus("33"),
    () => parse.parseTimeout("0"),
    () => parse.parseTimeout("soon"),
    () => parse.parseTtl("9999d"),
  ])("refuses %s", (step) => {
    expect(step).toThrow(/out of range|is not a/);
  });
  it("says what a plain number means", () => {
    expect(() => parse.parseMemory("512")).toThrow(/write 512M/);
  });
});

describe("environment", () => {
  it("takes values, empty values and values with equal signs", () => {
    expect([parse.parseEnv("A=b=c"), parse.parseEnv("A="), parse.parseEnv("A", { A: "x" })]).toEqual([
      ["A", "b=c"],
      ["A", ""],
      ["A", "x"],
    ]);
  });
  it("refuses names that are none, and unset ones", () => {
    for (const text of ["", "=x", "a b=c", "1a=b", "A\n=b"]) expect(() => parse.parseEnv(text, {})).toThrow();
    expect(() => parse.parseEnv("NOT_SET", {})).toThrow(/not set/);
  });
  it("reads files", () => {
    const folder = mkdtempSync(join(tmpdir(), "exai-env-"));
    writeFileSync(join(folder, "e"), "# note\nA=1\n\nB=x # y\r\n");
    expect(parse.parseEnvFile(join(folder, "e"))).toEqual([
      ["A", "1"],
      ["B", "x # y"],
    ]);
    expect(() => parse.parseEnvFile(join(folder, "none"))).toThrow(/does not exist/);
    rmSync(folder, { recursive: true });
  });
});

describe("transfers, places, ports", () => {
  it("cuts uploads at the last colon, unless the whole path exists", () => {
    const folder = mkdtempSync(join(tmpdir(), "exai-up-"));
    writeFileSync(join(folder, "a:b"), "");
    expect(parse.parseUpload(`${folder}:/x`)).toEqual({ source: folder, destination: "/x" });
    expect(parse.parseUpload(join(folder, "a:b"))).toEqual({ source: join(folder, "a:b"), destination: undefined });
    expect(() => parse.parseUpload(`${folder}:`)).toThrow();
    expect(() => parse.parseUpload(join(folder, "none"))).toThrow(/does not exist/);
    expect(() => parse.parseDownload(`/a:${folder}/none/b`)).toThrow(/does not exist/);
    expect(parse.parseDownload(`/a:${folder}/b`)).toEqual({ source: "/a", destination: `${folder}/b` });
    rmSync(folder, { recursive: true });
  });
  it("knows a workspace's path from one here", () => {
    expect(parsePlace("build:a/b")).toEqual({ workspace: "build", path: "a/b" });
    expect(parsePlace("build:")).toEqual({ workspace: "build", path: "" });
    for (const here of ["./a:b", "/a:b", "-", "a/b:c", "A:b"]) expect(parsePlace(here).workspace).toBeUndefined();
  });
  it("puts relative guest paths into the user's home", () => {
    expect([parse.guestPath("a", undefined), parse.guestPath("~/a", "root"), parse.guestPath("./a", "bob")]).toEqual([
      "/home/user/a",
      "/root/a",
      "/home/bob/a",
    ]);
    expect([parse.guestPath(".", undefined), parse.guestPath("/x", undefined)]).toEqual(["/home/user", "/x"]);
  });
  it("parses ports", () => {
    expect(parse.parsePorts("80:8080")).toEqual({ port: 80, localPort: 8080 });
    expect(parse.parsePorts("80")).toEqual({ port: 80, localPort: 80 });
    for (const bad of ["0", "70000", "80:70000", "a", "80:", "80:1:2"]) expect(() => parse.parsePorts(bad)).toThrow();
  });
});

it("nothing from a guest moves the cursor", () => {
  expect(clean("a\u001b[2Jb\r\nc\u202ed\u009b")).toBe("a\\x1b[2Jb\\x0d\\x0ac\\u202ed\\x9b");
  expect(clean("grüße 你好")).toBe("grüße 你好");
});
