import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { countVitest } from "../test/count.ts";
import { hostArguments, usualShape } from "./arguments.ts";
import { HostError } from "./errors.ts";
import type { Job, Place } from "./place.ts";
import { hostFailure } from "./process.ts";
import { mergeJunit } from "./report.ts";
import { findSuites, type SuiteFile } from "./suite-files.ts";
import { runSuites } from "./suites.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-suites-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("findSuites", () => {
  beforeEach(() => {
    mkdirSync(join(folder, "tests/kvm/full"), { recursive: true });
    writeFileSync(join(folder, "tests/kvm/b.test.ts"), "");
    writeFileSync(
      join(folder, "tests/kvm/a.test.ts"),
      "import x;\n// nested-host: cpus=2\n// nested-host: minutes=25\n// nested-host: always\n// nested-host: alone\n",
    );
    writeFileSync(join(folder, "tests/kvm/fixture.ts"), "");
    writeFileSync(join(folder, "tests/kvm/full/long.test.ts"), "");
  });
  const find = (full: boolean, ...wanted: string[]) => findSuites({ full, wanted, checkout: folder });

  it("takes a file of tests for a suite, with the processors that it asks for, and the long ones when told to", () => {
    expect(find(false)).toEqual([
      { name: "a", path: "tests/kvm/a.test.ts", cpus: 2, minutes: 25, nested: true, alone: true },
      { name: "b", path: "tests/kvm/b.test.ts", cpus: 1, minutes: 15, nested: false, alone: false },
    ]);
    expect(find(true).map(({ name }) => name)).toEqual(["a", "b", "long"]);
  });

  it("takes what is named, long or not, and refuses what is not there", () => {
    expect(find(false, "long").map(({ path }) => path)).toEqual(["tests/kvm/full/long.test.ts"]);
    expect(() => find(false, "c")).toThrow("there is no suite 'c' in tests/kvm; there are: a, b, long");
  });
});

describe("runSuites", () => {
  const suite = (name: string): SuiteFile => ({
    name,
    path: `tests/kvm/${name}.test.ts`,
    cpus: 1,
    minutes: 15,
    nested: false,
    alone: name.startsWith("alone"),
  });
  const report = (passed: number, failed: number) => ({
    numPassedTests: passed,
    numFailedTests: failed,
    numPendingTests: 0,
    numTodoTests: 0,
    success: failed === 0,
    testResults: [
      {
        name: "x",
        status: failed === 0 ? "passed" : "failed",
        assertionResults: [{ status: failed === 0 ? "passed" : "failed", fullName: "works" }],
      },
    ],
  });
  const run = async (suites: Record<string, (job: Job) => number | Promise<number>>, parallel = 1) => {
    const said: string[] = [];
    const place: Place = { run: async ({ name }, job) => suites[name]?.(job) ?? 1 };
    const merged = await runSuites({
      place,
      suites: Object.keys(suites).map(suite),
      out: join(folder, "out"),
      parallel,
      say: (text) => said.push(text),
      signal: new AbortController().signal,
    });
    return { merged, said: said.join("\n"), count: countVitest(merged) };
  };
  const writes = (passed: number, failed: number) => (job: Job) => {
    writeFileSync(join(job.out, "report.json"), JSON.stringify(report(passed, failed)));
    writeFileSync(join(job.out, "junit.xml"), '<testsuites><testsuite name="x"><testcase/></testsuite></testsuites>');
    job.onOutput(Buffer.from("said\n"));
    return failed === 0 ? 0 : 1;
  };

  it("adds up what the suites report, and keeps what they said", async () => {
    const { merged, count } = await run({ a: writes(3, 0), b: writes(2, 1) }, 2);
    expect(count).toMatchObject({ passed: 5, failed: 1 });
    expect(merged.success).toBe(false);
    expect(readFileSync(join(folder, "out/b/output.log"), "utf8")).toBe("said\n");
    expect(JSON.parse(readFileSync(join(folder, "out/report.json"), "utf8"))).toEqual(merged);
    expect(readFileSync(join(folder, "out/junit.xml"), "utf8").match(/<testsuite /g)?.length).toBe(2);
  });

  it("lets a suite that measures have the machine for itself", async () => {
    const running = new Set<string>();
    const beside: string[] = [];
    const runs = (name: string) => async (job: Job) => {
      running.add(name);
      await delay(20);
      beside.push([...running].sort().join());
      running.delete(name);
      return writes(1, 0)(job);
    };
    const names = ["alone", "a", "b", "alone too"];
    const { count } = await run(Object.fromEntries(names.map((name) => [name, runs(name)])), 2);
    expect(count).toMatchObject({ passed: 4, failed: 0 });
    expect(beside.slice(2)).toEqual(["alone", "alone too"]);
    expect(beside[0]).toBe("a,b");
  });

  it("begins a suite again whose host stood still, once, and says so", async () => {
    const begun = { once: 0, always: 0, dead: 0 };
    const stall = () => {
      throw new HostError("stalled", "the nested host cut its channel");
    };
    const { said, count } = await run({
      once: (job) => {
        if (begun.once++ > 0) return writes(1, 0)(job);
        job.onConsole("stands still");
        return stall();
      },
      dead: () => {
        begun.dead++;
        throw new HostError("boot", "the nested host ended with SIGKILL");
      },
      always: () => {
        begun.always++;
        return stall();
      },
    });
    expect(begun).toEqual({ once: 2, always: 2, dead: 1 });
    expect(count).toMatchObject({ passed: 1, failed: 2 });
    expect(readFileSync(join(folder, "out/once-stalled/console.log"), "utf8")).toBe("stands still");
    expect(said).toContain("once: its nested host has stopped (the nested host cut its channel); begun again");
  });

  it("counts a suite whose host went away, or that wrote no report, as failed, and goes on", async () => {
    const gone = () => {
      throw new Error("the nested host ended with SIGKILL");
    };
    const { merged, said, count } = await run({ a: gone, b: () => 0, c: writes(1, 0) });
    expect(count).toMatchObject({
      passed: 1,
      failed: 2,
      failures: [expect.stringContaining("SIGKILL"), expect.any(String)],
    });
    expect(said).toContain("the nested host ended with SIGKILL");
    expect(merged.testResults.map(({ name }) => name)).toEqual(["tests/kvm/a.test.ts", "tests/kvm/b.test.ts", "x"]);
  });
});

it("a nested host that stands still is told from one that is lost in another way, or panics", () => {
  const lost = (console: string, stopped = true) => hostFailure("it cut its channel", { console, stopped });
  expect(lost("[ 1.0] up\n").code).toBe("stalled");
  expect(lost("[ 1.0] up\n", false).code).toBe("boot");
  const panic = "[ 400.1] Kernel panic - not syncing: x";
  expect(lost(panic)).toMatchObject({ code: "boot", message: expect.stringContaining(panic) });
});

it("JUnit documents are joined suite by suite", () => {
  const one = '<?xml version="1.0"?><testsuites><testsuite name="a"><testcase name="1"/></testsuite></testsuites>';
  const merged = mergeJunit([one, one.replace('"a"', '"b"'), "<testsuites></testsuites>"]);
  expect([...merged.matchAll(/<testsuite name="(.)"/g)].map(([, name]) => name)).toEqual(["a", "b"]);
  expect(merged.match(/<testsuites/g)?.length).toBe(1);
});

describe("hostArguments", () => {
  const words = hostArguments({
    shape: usualShape,
    files: "/f",
    run: "/r,un",
    shares: [{ tag: "checkout", path: "/a,b" }],
    tscKhz: 2_000_000,
  });

  it("gives the nested host no network, and nothing of the machine that it could write", () => {
    const all = words.join(" ");
    expect(words).toContain("-nodefaults");
    expect(all).not.toMatch(/netdev|-nic|tcp:|hostfwd|vsock/);
    for (const word of words.filter((each) => /^(local|id=root),/.test(each))) expect(word).toContain("readonly=on");
    expect(words).toContain("local,path=/a,,b,mount_tag=checkout,security_model=none,readonly=on");
  });

  it("tells it the machine's counter, without which its time runs wrong under load", () => {
    expect(words[words.indexOf("-append") + 1]).toContain("tsc_early_khz=2000000 tsc=reliable");
  });
});
