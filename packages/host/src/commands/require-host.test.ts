import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { runCheck } from "../doctor/check.ts";
import { thisHost } from "../doctor/facts.ts";
import { requirementChecks } from "../doctor/requirements.ts";
import { HostError } from "../errors.ts";
import { doctorCommand } from "./doctor.ts";
import { requireHost } from "./require-host.ts";

const options = { home: "/var/lib/exai", detach: false, production: false, imageStore: "/nonexistent" };
let imageStore: string;
beforeAll(() => {
  imageStore = mkdtempSync(join(tmpdir(), "exai-images-"));
  writeFileSync(join(imageStore, "index.json"), "{}");
});
afterAll(() => rmSync(imageStore, { recursive: true }));

const there = process.execPath;
const good = { platform: "linux", arch: "x64", uid: 0, qemu: there, flock: there, launcher: there };

it.each([
  ["another system", { platform: "darwin" }, "platform", /Linux.*darwin/],
  ["another architecture", { arch: "arm64" }, "platform", /x86_64.*arm64/],
  ["no root", { uid: 1000 }, "not-root", /needs root.*sudo/],
  ["no QEMU", { qemu: "/nonexistent/qemu" }, "missing", /QEMU is not installed.*apt-get install/],
  ["no flock", { flock: "/nonexistent/flock" }, "missing", /flock is not installed.*apt-get install util-linux/],
  ["no images", {}, "missing", /no images in \/nonexistent.*make build/],
] as const)("refuses a host with %s, in one sentence that says what to do", (_what, system, code, says) => {
  const refuse = () => requireHost(options, { ...good, ...system });
  expect(refuse).toThrow(HostError);
  expect(refuse).toThrow(says);
  expect(refuse).toThrow(expect.objectContaining({ code }));
});

it("refuses a home that is not absolute", () => {
  expect(() => requireHost({ ...options, home: "here" }, good)).toThrow(/absolute/);
});

it("refuses a host without a launcher", () => {
  const withImages = { ...options, imageStore };
  expect(() => requireHost(withImages, { ...good, launcher: "/nonexistent" })).toThrow(
    /launcher is not built.*make build/,
  );
  expect(() => requireHost(withImages, good)).not.toThrow();
});

it("refuses for nothing that 'exai doctor' does not call a failure", async () => {
  for (const [what, value] of Object.entries({ ...good, platform: "darwin", arch: "arm64", uid: 1000 })) {
    const system = { ...good, [what]: value === there ? "/nonexistent" : value };
    const checks = requirementChecks(imageStore, system);
    const results = await Promise.all(checks.map((each) => runCheck(each, "development", thisHost)));
    expect([what, results.map((each) => each?.status).filter((status) => status !== "ok")]).toEqual([what, ["fail"]]);
  }
});

it("'exai doctor' does not call a host without images able", async () => {
  let text = "";
  const stdout = (more: string) => {
    text += more;
  };
  const io = { stdout, stderr: stdout, json: false, signal: new AbortController().signal };
  const imageless = { home: join(imageStore, "home"), imageStore: "/nonexistent", production: false };
  expect(await doctorCommand(imageless, io)).toBe(1);
  expect(text).toMatch(
    /^fail images {13}there are no images in \/nonexistent\n {5}why: .*\n {5}do: {2}run 'make build'/m,
  );
  expect(text).not.toMatch(/this host can run exai/);
});
