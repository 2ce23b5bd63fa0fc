import { afterAll, beforeAll, expect, it } from "vitest";
import { leftoversOf, type StackTraces, tracesOf } from "../support/leftovers.ts";
import { TestStack } from "../support/stack.ts";

/** A stack that goes down and comes up again around microVMs that run on, as for an upgrade. */

let stack: TestStack;
let traces: StackTraces;
beforeAll(async () => {
  stack = await TestStack.start();
  traces = tracesOf(stack.home);
});
afterAll(async () => {
  await stack?.[Symbol.asyncDispose]();
});

const guest = async (script: string): Promise<string> =>
  (await stack.must(["exec", "stays", "--", "sh", "-c", script])).stdout.trim();
const boots = async (): Promise<number> =>
  (await stack.must(["events", "--json"])).stdout.split("\n").filter((line) => line.includes('"vm.boot"')).length;
const runsOn = (): string[] => leftoversOf(traces).filter((each) => /^process \d+ .*qemu-system/.test(each));

it("leaves the microVMs running, their programs too, and takes them up again", async () => {
  await stack.must(["ws", "create", "--name", "stays", "--memory", "128M"]);
  await stack.must(["exec", "-d", "stays", "--", "sh", "-c", "echo begun; sleep 1000"]);
  const boot = await guest("cat /proc/sys/kernel/random/boot_id");
  const vmms = runsOn();
  expect(vmms).toHaveLength(1);

  await stack.must(["down", "--keep-vms"]);
  expect((await stack.exai(["status"])).stderr).toMatch(/no stack runs on .*; start one with 'exai up -d'/);
  expect(runsOn()).toEqual(vmms);

  await stack.must(["up", "-d"]);
  expect(await guest("cat /proc/sys/kernel/random/boot_id")).toBe(boot);
  expect((await stack.must(["ps", "stays"])).stdout).toMatch(/echo begun; sleep 1000/);
  expect(runsOn()).toEqual(vmms);
  expect(await boots()).toBe(1);
});

it("stops them when it is not told to leave them, and boots them again", async () => {
  await stack.must(["down"]);
  expect(runsOn()).toEqual([]);
  await stack.must(["up", "-d"]);
  await expect
    .poll(() => stack.exai(["exec", "stays", "--", "true"]).then(({ code }) => code), { timeout: 60_000 })
    .toBe(0);
  expect(await boots()).toBe(2);
});

it("takes away what runs without a stack when it is purged", async () => {
  await stack.must(["down", "--keep-vms"]);
  expect(runsOn()).toHaveLength(1);
  await stack.must(["down", "--purge"]);
  expect(leftoversOf(traces)).toEqual([]);
});
