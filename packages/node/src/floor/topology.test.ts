import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { formatCpuList, parseCpuList } from "./cpu-list.ts";
import { fakeSysfs } from "./fake-tree.fixture.ts";
import { readTopology } from "./topology.ts";

test("every set of CPUs survives the kernel's way to write it", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(8191)), (cpus) => {
      const sorted = cpus.sort((a, b) => a - b);
      expect(parseCpuList(`${formatCpuList(sorted)}\n`)).toEqual(sorted);
    }),
  );
});

test.each([
  "x",
  "1-",
  "-1",
  "3-1",
  "1,1",
  "2,1",
  "0-3,2",
  "1 2",
  "0-99999",
  "8192",
  "1,,2",
  ",",
  "0x1",
  "1\n\n",
  "0-3:2/4",
])("'%s' is refused as no list of CPUs", (text) =>
  expect(() => parseCpuList(text)).toThrow(/is no list of CPUs as the kernel writes one/),
);

test("whatever a list's text is, it is read or refused, never half of it", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."0123456789-,\n x") }), (text) => {
      let cpus: number[];
      try {
        cpus = parseCpuList(text);
      } catch (error) {
        expect(error).toMatchObject({ code: "topology" });
        return;
      }
      expect(parseCpuList(formatCpuList(cpus))).toEqual(cpus);
    }),
  );
});

describe("the topology of a host", () => {
  const all = (count: number) => Array.from({ length: count }, (_, at) => at);

  it("has SMT siblings as one core, and its NUMA node", () => {
    const { cores } = readTopology(all(8), fakeSysfs({ cores: 4, threads: 2, nodes: 2 }));
    expect(cores).toEqual([
      { cpus: [0, 4], node: 0 },
      { cpus: [1, 5], node: 0 },
      { cpus: [2, 6], node: 1 },
      { cpus: [3, 7], node: 1 },
    ]);
  });

  it("has no core of which a sibling is somebody else's", () => {
    const { cores, partial } = readTopology([0, 1, 2, 4, 5], fakeSysfs({ cores: 4, threads: 2 }));
    expect(cores.map(({ cpus }) => cpus)).toEqual([
      [0, 4],
      [1, 5],
    ]);
    expect(partial).toEqual([2]);
  });

  it("takes the older name of the siblings' file, and a kernel without NUMA", () => {
    const read = (path: string) => (path.endsWith("/thread_siblings_list") ? /cpu(\d+)/.exec(path)?.[1] : undefined);
    expect(readTopology([0, 1], read).cores).toEqual([
      { cpus: [0], node: 0 },
      { cpus: [1], node: 0 },
    ]);
  });

  it.each([
    ["is silent", () => undefined, /does not say which core CPU 0/],
    ["names others only", () => "1\n", /CPU 0 is not among its own/],
    ["says something else", () => "rm -rf /\n", /is no list of CPUs/],
    [
      "contradicts itself",
      (path: string) => (path.includes("cpu0/") ? "0-1\n" : path.includes("cpu1/") ? "1-2\n" : "2\n"),
      /CPU 1 shares a core with 1,2/,
    ],
  ])("is refused when sysfs %s", (_, read, why) => {
    const sysfs = (path: string) => (path.includes("/topology/core_cpus_list") ? read(path) : undefined);
    expect(() => readTopology([0, 1, 2], sysfs)).toThrow(why);
  });
});
