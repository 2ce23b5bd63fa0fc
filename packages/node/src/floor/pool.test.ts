import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { parseCpuList } from "./cpu-list.ts";
import { FakeTree, fakeSysfs } from "./fake-tree.fixture.ts";
import { CorePool } from "./pool.ts";
import { dropVmGroups, isFloored, isSeated, makeVmGroups, seat } from "./vm-groups.ts";

const folder = "/fake/exai-aaaaaaaa";

/** A host, its pool, and what the node agent does with both. */
function hostOf(shape: { cores: number; threads?: number; nodes?: number }) {
  const tree = new FakeTree(shape.cores * (shape.threads ?? 1));
  const open = () => new CorePool({ mount: tree.mount, folder, tree, read: fakeSysfs(shape) });
  const host = {
    tree,
    pool: open(),
    restart: () => {
      host.pool = open();
    },
    launch(name: string, vcpus: number) {
      tree.make(folder);
      tree.make(`${folder}/${name}`);
      const share = host.pool.claim(vcpus);
      makeVmGroups(tree, `${folder}/${name}`, share);
      return share;
    },
    async end(name: string) {
      await dropVmGroups(tree, `${folder}/${name}`);
      host.pool.settle();
    },
  };
  return host;
}

const hostCpus = (tree: FakeTree) => tree.effective(tree.mount);

describe("a pool of cores", () => {
  it("takes from the host what runs, and gives it back with the last one's end", async () => {
    const { tree, pool, launch, end } = hostOf({ cores: 4 });
    expect(pool.state()).toMatchObject({ enforced: true, cores: 2 });
    expect(hostCpus(tree)).toEqual([0, 1, 2, 3]);
    expect(launch("a", 1)).toEqual({ vcpus: [[2]], shared: [1] });
    expect(hostCpus(tree)).toEqual([0, 3]);
    expect(launch("b", 1)).toEqual({ vcpus: [[3]], shared: [1] });
    expect(() => launch("c", 1)).toThrow("1 virtual CPU needs a core of its own: 0 of 2 are free on this host");
    await end("a");
    expect(hostCpus(tree)).toEqual([0, 2]);
    expect(launch("c", 1).vcpus).toEqual([[2]]);
    await end("b");
    await end("c");
    expect(hostCpus(tree)).toEqual([0, 1, 2, 3]);
    expect(tree.read(`${folder}/cpuset.cpus.partition`)).toBe("member");
  });

  it("gives whole cores, and of one NUMA node if there is one with enough", () => {
    const { pool, launch } = hostOf({ cores: 8, threads: 2, nodes: 2 });
    expect(pool.state()).toMatchObject({ cores: 6, about: expect.stringContaining("SMT on, 2 threads a core") });
    // Node 0 has two left beside the host's core and the shared one.
    expect(launch("a", 2).vcpus).toEqual([
      [2, 10],
      [3, 11],
    ]);
    expect(launch("b", 3)).toEqual({
      vcpus: [
        [4, 12],
        [5, 13],
        [6, 14],
      ],
      shared: [1, 9],
    });
  });

  it("knows after a restart who has what", async () => {
    const host = hostOf({ cores: 5 });
    host.launch("a", 2);
    host.restart();
    expect(host.launch("b", 1)).toEqual({ vcpus: [[4]], shared: [1] });
    await host.end("a");
    host.restart();
    expect(host.launch("c", 2).vcpus).toEqual([[2], [3]]);
  });

  it("gives nobody a core that is offline, and moves nothing when one comes or goes", () => {
    const host = hostOf({ cores: 6 });
    host.launch("a", 1);
    host.tree.online.delete(0);
    expect(host.pool.state()).toMatchObject({ cores: 3 });
    // CPU 3 is the first that nobody uses: the host's now.
    expect(host.launch("b", 1)).toEqual({ vcpus: [[4]], shared: [1] });
    host.tree.online.delete(1);
    expect(() => host.launch("c", 1)).toThrow("the CPUs that helper threads share (1) are offline");
  });

  it("confines a microVM from before it to the shared cores, until that ends", async () => {
    const host = hostOf({ cores: 4 });
    const { tree } = host;
    tree.make(folder);
    tree.make(`${folder}/old`);
    tree.write(`${folder}/old/cgroup.threads`, "5");
    host.restart();
    expect(tree.effective(`${folder}/old`)).toEqual([0, 1, 2, 3]);
    host.launch("a", 1);
    expect(tree.effective(`${folder}/old`)).toEqual([1]);
    await host.end("a");
    expect(tree.effective(`${folder}/old`)).toEqual([1]);
    expect(hostCpus(tree)).toEqual([0, 2, 3]);
    expect(host.launch("b", 2)).toEqual({ vcpus: [[2], [3]], shared: [1] });
    await host.end("b");
    tree.write(`${folder}/old/cgroup.threads`, "");
    host.pool.settle();
    expect(hostCpus(tree)).toEqual([0, 1, 2, 3]);
  });

  it("says when somebody breaks the partition, and mends it when that is over", async () => {
    const { tree, pool, launch } = hostOf({ cores: 6 });
    launch("a", 1);
    tree.make("/fake/other");
    tree.write("/fake/other/cpuset.cpus", "2-3");
    expect(pool.holds).toBe(false);
    expect(pool.state()).toMatchObject({ enforced: false, why: expect.stringContaining("not exclusive") });
    tree.write("/fake/other/cpuset.cpus", "");
    launch("b", 1);
    expect(pool.holds).toBe(true);
  });
});

describe("there is no floor", () => {
  const tree = () => new FakeTree(4);
  const state = (fake: FakeTree, read = fakeSysfs({ cores: 4 }), mount: string | null = fake.mount) =>
    new CorePool({ mount, folder, tree: fake, read }).state();
  const because = (text: string) => ({ enforced: false, why: expect.stringContaining(text) });

  it("without cgroup v2", () => expect(state(tree(), undefined, null)).toEqual(because("cgroup v2 is not mounted")));

  it("without the controller", () => {
    const fake = tree();
    fake.write("/fake/cgroup.controllers", "memory pids");
    expect(state(fake)).toEqual(because("the controller cpuset is not there"));
  });

  it("on two cores", () => expect(state(new FakeTree(2))).toEqual(because("3 whole cores")));

  it("on two cores with two threads each", () =>
    expect(state(tree(), fakeSysfs({ cores: 2, threads: 2 }))).toEqual(because("and 2 are here")));

  it("where sysfs makes no sense", () =>
    expect(state(tree(), () => "all of them")).toEqual(because("is no list of CPUs")));

  it("where the partition is refused, and then a claim gives no cores", () => {
    const fake = tree();
    fake.make("/fake/other");
    fake.write("/fake/other/cpuset.cpus", "0-3");
    const pool = new CorePool({ mount: fake.mount, folder, tree: fake, read: fakeSysfs({ cores: 4 }) });
    expect(pool.state()).toEqual(because("not exclusive"));
    expect(pool.holds).toBe(false);
    expect(pool.claim(64)).toEqual({ vcpus: [], shared: null });
    // What stood in the way is gone: it is not the last word.
    fake.remove("/fake/other");
    fake.make(folder);
    expect(pool.claim(1).vcpus).toHaveLength(1);
  });
});

test("a virtual CPU counts as seated when it alone is on a core that is online and wholly its own", () => {
  const { tree, launch } = hostOf({ cores: 5 });
  const vm = `${folder}/a`;
  let read = fakeSysfs({ cores: 5 });
  const seated = () => isSeated(tree, vm, read);
  launch("a", 2);
  expect(seated()).toBe(false);
  seat(tree, vm, new Map([[1, 11]]));
  expect(seated()).toBe(false);
  seat(
    tree,
    vm,
    new Map([
      [0, 10],
      [1, 99],
    ]),
  );
  expect(tree.read(`${vm}/vcpu1/cgroup.threads`)).toBe("11");
  expect(seated()).toBe(true);
  tree.write(`${vm}/vcpu0/cgroup.threads`, "10\n12");
  expect(seated()).toBe(false);
  tree.write(`${vm}/vcpu0/cgroup.threads`, "10");
  tree.online.delete(2);
  expect(seated()).toBe(false);
  tree.online.add(2);
  expect(seated()).toBe(true);
  // SMT is switched on: each core has a second thread now, which is the host's.
  read = fakeSysfs({ cores: 5, threads: 2 });
  expect(seated()).toBe(false);
});

test("no core is ever given twice, and no sibling is split, whatever comes, goes, restarts and goes offline", async () => {
  const names = ["a", "b", "c", "d", "e"];
  const step = fc.record({
    what: fc.constantFrom("launch", "launch", "end", "restart", "offline", "online"),
    name: fc.constantFrom(...names),
    cpus: fc.integer({ min: 1, max: 3 }),
    cpu: fc.nat(15),
  });
  const shape = fc.record({
    cores: fc.integer({ min: 3, max: 8 }),
    threads: fc.constantFrom(1, 2),
    nodes: fc.constantFrom(1, 2),
  });
  await fc.assert(
    fc.asyncProperty(shape, fc.array(step, { maxLength: 40 }), async (machine, steps) => {
      const host = hostOf(machine);
      const { tree } = host;
      for (const { what, name, cpus, cpu } of steps) {
        if (what === "restart") host.restart();
        if (what === "end") await host.end(name);
        if (what === "offline" && tree.online.size > 3) for (const each of core(cpu, machine)) tree.online.delete(each);
        if (what === "online") for (const each of core(cpu, machine)) tree.online.add(each);
        if (what === "launch" && !isFloored(tree, `${folder}/${name}`)) {
          try {
            const { vcpus } = host.launch(name, cpus);
            expect([0, cpus]).toContain(vcpus.length);
            for (const each of vcpus) expect(each).toEqual(core(each[0] ?? -1, machine));
          } catch (error) {
            expect(error).toMatchObject({ code: "no-core" });
          }
        }
        const given = names
          .filter((each) => isFloored(tree, `${folder}/${each}`))
          .flatMap((each) => tree.children(`${folder}/${each}`).map((group) => `${folder}/${each}/${group}`));
        const vcpus = given.filter((group) => group.includes("/vcpu"));
        const taken = vcpus.flatMap((group) => list(tree, group));
        const shared = new Set(given.filter((group) => !group.includes("/vcpu")).flatMap((group) => list(tree, group)));
        expect(new Set(taken).size).toBe(taken.length);
        expect(taken.filter((each) => shared.has(each))).toEqual([]);
        // The host keeps something, and nothing of what was given.
        expect(hostCpus(tree).length).toBeGreaterThan(0);
        if (host.pool.holds && taken.length > 0)
          expect(hostCpus(tree).filter((each) => taken.includes(each))).toEqual([]);
      }
    }),
    { numRuns: 200 },
  );
});

const core = (cpu: number, { cores, threads }: { cores: number; threads: number }): number[] =>
  Array.from({ length: threads }, (_, at) => (cpu % cores) + at * cores);

const list = (tree: FakeTree, group: string): number[] => parseCpuList(tree.read(`${group}/cpuset.cpus`) ?? "");
