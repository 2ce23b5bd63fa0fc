import type { SnapshotOrigin } from "@exai/api/host";
import { expect, test } from "vitest";
import { differenceOf } from "./check.ts";
import { cpuIdentity } from "./cpu.ts";
import { availableMib, machineOf } from "./origin.ts";

const cpuinfo = (model: string, flags: string): string =>
  [
    `processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 23\nmodel\t\t: ${model}\nmodel name\t: AMD EPYC`,
    `stepping\t: 2\nmicrocode\t: 0x1\nflags\t\t: ${flags}\nbugs\t\t:\n\nprocessor\t: 1\nvendor_id\t: Other\n`,
  ].join("\n");

const hex = (digit: string): string => digit.repeat(64);
const origin: SnapshotOrigin = {
  vmm: { name: "firecracker", version: "Firecracker v1.12.1", sha256: hex("a") },
  cpu: cpuIdentity(cpuinfo("1", "fpu sse")),
  hostKernel: "6.1",
  machine: {
    ...{ cpus: 1, memoryMib: 128, kvm: true, devicesSha256: hex("b") },
    files: [{ blob: hex("c"), target: "/vm/kernel" }],
  },
};
const machine = (change: object): SnapshotOrigin => ({ ...origin, machine: { ...origin.machine, ...change } });

test("the same is no difference, nor is the host's kernel", () => {
  expect(differenceOf(origin, { ...origin, hostKernel: "6.18" })).toBeUndefined();
});

const others: Record<string, [SnapshotOrigin, RegExp]> = {
  "another VMM": [{ ...origin, vmm: { ...origin.vmm, name: "qemu" } }, /^firecracker made it, .* starts qemu$/],
  "another version": [
    { ...origin, vmm: { ...origin.vmm, version: "v2", sha256: hex("d") } },
    /1\.12\.1' \(sha256 a{12}\) .* has 'v2' \(sha256 d{12}\)$/,
  ],
  "another processor": [{ ...origin, cpu: { ...origin.cpu, name: "Xeon" } }, /'AMD EPYC', and this host has 'Xeon'$/],
  "other features": [{ ...origin, cpu: cpuIdentity(cpuinfo("1", "fpu sse avx")) }, /with other features$/],
  "another kernel": [machine({ files: [{ blob: hex("e"), target: "/vm/kernel" }] }), /another kernel$/],
  "no kernel": [machine({ files: [] }), /another kernel$/],
  "another size": [machine({ memoryMib: 256 }), /1 CPUs and 128 MiB, not 1 and 256$/],
  "other devices": [machine({ devicesSha256: hex("f") }), /its devices are others$/],
};
test.each(Object.keys(others))("%s is told in words", (name) => {
  const [other, words] = others[name] ?? [origin, /$^/];
  expect(differenceOf(origin, other)).toMatch(words);
});

test("a processor is its model, stepping and features, in any order, without its microcode", () => {
  const one = cpuIdentity(cpuinfo("1", "sse fpu"));
  expect(one).toEqual(cpuIdentity(cpuinfo("1", "fpu sse").replace("0x1", "0x2")));
  expect(one).not.toEqual(cpuIdentity(cpuinfo("2", "fpu sse")));
  expect(() => cpuIdentity("processor\t: 0\n\n")).toThrow(expect.objectContaining({ code: "broken-state" }));
});

test("how a machine begins is not what it is", () => {
  const request = {
    ...{ workspace: "a", lifetime: "b", vmm: "qemu", argv: ["x"], files: [], kvm: false, cpus: 1, memoryMib: 128 },
  } as unknown as Parameters<typeof machineOf>[0];
  const load = { workspace: "a", lifetime: "b", argv: ["y"] } as unknown as NonNullable<typeof request.load>;
  expect(machineOf({ ...request, load })).toEqual(machineOf(request));
  expect(machineOf({ ...request, argv: ["z"] })).not.toEqual(machineOf(request));
  expect(machineOf({ ...request, config: "{}" })).not.toEqual(machineOf(request));
});

test("free memory is what the kernel calls available", () => {
  expect(availableMib("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")).toBe(2);
  expect(availableMib("")).toBe(0);
});
