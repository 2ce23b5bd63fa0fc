import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cached, currentOf, digestOf, makeCurrent } from "./cached.ts";
import { runGraph, type Step } from "./graph.ts";
import { lockFile } from "./lock.ts";
import { formatLock, parseLock } from "./package-lock.ts";
import { cacheFolder } from "./paths.ts";
import { readLock, readRecipe } from "./recipe.ts";
import { run } from "./run.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-build-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("runGraph", () => {
  const step = (name: string, needs: string[], log: string[], fail = false): Step => ({
    name,
    needs,
    run: async () => {
      log.push(`+${name}`);
      await sleep(1);
      log.push(`-${name}`);
      if (fail) throw new Error(`${name} failed`);
      return { hit: false };
    },
  });
  const options = { parallel: 2, onDone: () => undefined };

  it("runs what is needed and nothing else, each after its needs, no more than allowed at once", async () => {
    const log: string[] = [];
    const steps = [
      step("a", [], log),
      step("b", ["a"], log),
      step("c", [], log),
      step("d", ["b", "c"], log),
      step("e", [], log),
    ];
    const done = await runGraph(steps, ["d"], options);
    expect(done.map(({ name }) => name).sort()).toEqual(["a", "b", "c", "d"]);
    expect(log.indexOf("-a")).toBeLessThan(log.indexOf("+b"));
    expect(log.slice(-2)).toEqual(["+d", "-d"]);
    let running = 0;
    for (const entry of log) {
      running += entry.startsWith("+") ? 1 : -1;
      expect(running).toBeLessThanOrEqual(2);
    }
  });

  it("starts nothing after a failure, and ends when all has ended", async () => {
    const log: string[] = [];
    const steps = [step("a", [], log, true), step("b", [], log), step("c", ["a"], log), step("d", ["b"], log)];
    await expect(runGraph(steps, ["c", "d"], options)).rejects.toThrow("a failed");
    expect(log).toEqual(expect.arrayContaining(["-a", "-b"]));
    expect(log).not.toContain("+c");
  });

  it("refuses unknown steps and circles", async () => {
    await expect(runGraph([], ["x"], options)).rejects.toThrow(/no step 'x'/);
    const steps = [step("a", ["b"], []), step("b", ["a"], [])];
    await expect(runGraph(steps, ["a"], options)).rejects.toThrow(/a → b → a/);
  });
});

describe("cached", () => {
  const build = (inputs: string[], content = "x", fail = false) =>
    cached(
      "thing",
      inputs,
      async (fresh) => {
        writeFileSync(join(fresh, "file"), content);
        if (fail) throw new Error("no");
      },
      { buildFolder: folder },
    );

  it("builds once for the same inputs", async () => {
    const first = await build(["a"]);
    expect(first.hit).toBe(false);
    const second = await build(["a"], "other");
    expect(second).toEqual({ folder: first.folder, hit: true });
    expect(readFileSync(join(second.folder, "file"), "utf8")).toBe("x");
    expect((await build(["b"])).folder).not.toBe(first.folder);
    expect(digestOf(["ab", "c"])).not.toBe(digestOf(["a", "bc"]));
  });

  it("leaves nothing of a build that failed", async () => {
    await expect(build(["a"], "x", true)).rejects.toThrow("no");
    expect(readdirSync(join(folder, "thing"))).toEqual([]);
    expect((await build(["a"])).hit).toBe(false);
  });

  it("builds once when two ask at a time", async () => {
    const results = await Promise.all([build(["a"]), build(["a"]), build(["a"])]);
    expect(results.map(({ hit }) => hit).sort()).toEqual([false, true, true]);
  });

  it("has a current result, which is not one of the few that are kept", async () => {
    process.env["EXAI_CACHE"] = folder;
    try {
      for (const input of ["1", "2", "3", "4"]) {
        makeCurrent("thing", await cached("thing", [input], async () => undefined));
        expect(realpathSync(currentOf("thing"))).toContain(digestOf([input]));
      }
      expect(readdirSync(join(folder, "build/thing")).filter((name) => !name.startsWith(".")).length).toBe(3);
    } finally {
      delete process.env["EXAI_CACHE"];
    }
  });

  it("keeps the last few results", async () => {
    for (const input of ["1", "2", "3", "4", "5"]) await build([input]);
    expect(readdirSync(join(folder, "thing")).length).toBe(3);
  });
});

describe("lockFile", () => {
  it("waits for its holder", async () => {
    const path = join(folder, "lock");
    const first = await lockFile(path);
    const waits: number[] = [];
    const second = lockFile(path, (pid) => waits.push(pid));
    await sleep(50);
    first[Symbol.dispose]();
    using _held = await second;
    expect(waits).toEqual([process.pid]);
  });

  it("takes over from a holder that died", async () => {
    const child = spawn("true");
    await once(child, "exit");
    const path = join(folder, "lock");
    writeFileSync(path, `${child.pid} 123`);
    using _held = await lockFile(path);
    expect(readFileSync(path, "utf8")).toMatch(new RegExp(`^${process.pid} \\d+$`));
  });
});

describe("run", () => {
  it("gives the output, or the last lines of what failed", async () => {
    expect(await run(["sh", "-c", "echo one; echo two"])).toBe("one\ntwo");
    const failing = run(["sh", "-c", "echo why >&2; exit 3"]);
    await expect(failing).rejects.toMatchObject({ code: "run", message: expect.stringMatching(/ended with 3:\nwhy/) });
    await expect(run(["/nowhere/program"])).rejects.toMatchObject({ code: "run" });
  });
});

describe("the package lock", () => {
  it.each(["base", "nested-host"] as const)("of %s is complete, and reads back as it was written", (name) => {
    const lock = readLock(name);
    expect(parseLock(formatLock(lock))).toEqual(lock);
    const names = new Set(lock.debs.map(({ name }) => name));
    expect(readRecipe(name).packages.filter((wanted) => !names.has(wanted))).toEqual([]);
    expect(lock.npm.map(({ name, version }) => `${name}@${version}`)).toEqual(readRecipe(name).npm);
  });

  it("refuses a line that is not one, and says which", () => {
    const good = formatLock(readLock());
    expect(() => parseLock(`${good}deb x 1 amd64 zz\n`)).toThrow(/line \d+: sha256 expected/);
    expect(() => parseLock(`${good}rpm x\n`)).toThrow(/'rpm' is not known/);
    expect(() => parseLock("epoch 1700000000\n")).toThrow(/not complete/);
    expect(() => parseLock(good.replace(/^(deb \S+) (\S+)/m, "$1 $2;rm"))).toThrow(/version expected/);
  });
});

it("the cache is where root's services can read it, or the user's own", () => {
  expect(cacheFolder({}, 0)).toBe("/var/cache/exai");
  expect(cacheFolder({ XDG_CACHE_HOME: "/x" }, 1000)).toBe("/x/exai");
  expect(cacheFolder({ EXAI_CACHE: "/y" }, 0)).toBe("/y");
  expect(existsSync(cacheFolder({ EXAI_CACHE: folder }, 0))).toBe(true);
});
