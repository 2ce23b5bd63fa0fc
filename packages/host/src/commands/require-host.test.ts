import { expect, it } from "vitest";
import { HostError } from "../errors.ts";
import { requireHost } from "./require-host.ts";

const options = { home: "/var/lib/exai", detach: false, production: false, imageStore: "/nonexistent" };
const good = { platform: "linux", arch: "x64", uid: 0, qemu: "/bin/sh" } as const;

it.each([
  ["another system", { platform: "darwin" }, "platform", /Linux.*darwin/],
  ["another architecture", { arch: "arm64" }, "platform", /x86_64.*arm64/],
  ["no root", { uid: 1000 }, "not-root", /needs root.*sudo/],
  ["no QEMU", { qemu: "/nonexistent/qemu" }, "missing", /QEMU is not installed.*apt-get install/],
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
