import { existsSync, readFileSync } from "node:fs";
import { type DoctorReport, doctorCheckIds, doctorReport } from "@exai/api/host";
import { afterAll, beforeAll, expect, it } from "vitest";
import { leftoversOf, type StackTraces, tracesOf } from "../support/leftovers.ts";
import { TestStack } from "../support/stack.ts";

/** `exai doctor` on this machine, whatever it is: each answer is compared with what the machine says elsewhere. */
let stack: TestStack;
let traces: StackTraces;
let production: DoctorReport;
let accelerator: string;

beforeAll(async () => {
  stack = await TestStack.start();
  traces = tracesOf(stack.home);
  ({ accelerator } = JSON.parse((await stack.must(["status", "--json"])).stdout));
  production = doctorReport.parse(JSON.parse((await stack.exai(["doctor", "--production", "--json"])).stdout));
});
afterAll(async () => {
  await stack?.[Symbol.asyncDispose]();
  expect(leftoversOf(traces)).toEqual([]);
});

const status = (id: string) => production.checks.find((each) => each.id === id)?.status;

it("has an answer to each check of production, with reason, remedy and command", () => {
  expect(production.checks.map(({ id }) => id)).toEqual([...doctorCheckIds]);
});

it("calls KVM working when guests run under it, and a failure by name when it lies", () => {
  expect(status("kvm-guest")).toBe(accelerator === "kvm" ? "ok" : "fail");
  if (accelerator === "tcg") expect(production.ok).toBe(false);
});

it("calls cgroup v1 a failure by name", () => {
  const file = "/sys/fs/cgroup/cgroup.controllers";
  const controllers = existsSync(file) ? readFileSync(file, "utf8").trim().split(" ") : [];
  const has = (names: string[]) => (names.every((name) => controllers.includes(name)) ? "ok" : "fail");
  expect(status("cgroup2")).toBe(has(["cpu", "memory", "pids"]));
  expect(status("cgroup-cpuset")).toBe(has(["cpuset"]));
});

it("has what it found, on this machine's stack, in the tenant's log: what the start found, and each look since", async () => {
  expect(production.recorded).toBe(true);
  await stack.exai(["doctor"]);
  const lines = (await stack.must(["events", "--json"])).stdout.trim().split("\n");
  const events = lines.map((line) => JSON.parse(line).event ?? JSON.parse(line));
  const checked = events.filter(({ action }) => action === "host.check");
  expect(checked.map(({ detail }) => detail.mode)).toEqual(["development", "production", "development"]);
  const started = events.findIndex(({ action }) => action === "host.start");
  expect(events.indexOf(checked[0])).toBe(started + 1);
  const ids = (wanted: string) => production.checks.filter((each) => each.status === wanted).map(({ id }) => id);
  const { at, mode } = production;
  expect(checked[1]).toMatchObject({
    actor: "host",
    outcome: production.ok ? "ok" : "failed",
    detail: { at, mode, ok: ids("ok"), fail: ids("fail"), warn: ids("warn"), unknown: ids("unknown") },
  });
});

it("looks at the VMMs that run now", async () => {
  await stack.must(["ws", "create", "--name", "one", "--memory", "128M", "--disk", "256M"]);
  const looked = await stack.exai(["doctor", "--production", "--json"]);
  await stack.must(["ws", "rm", "one"]);
  const { checks } = doctorReport.parse(JSON.parse(looked.stdout));
  for (const id of ["vmm-seccomp", "vmm-uid", "vmm-rights", "vmm-limits", "metadata-address"]) {
    const found = checks.find((each) => each.id === id);
    expect(found).toMatchObject({ status: "ok", found: expect.stringMatching(/^\d+ that run: /) });
  }
  // Where the host can't limit a VMM, it is said of the VMM, too.
  expect(checks.find(({ id }) => id === "vmm-cgroup")?.status).toBe(status("cgroup2"));
});

it("says without a stack that nobody took it down, and makes nothing", async () => {
  const home = `${stack.home}-none`;
  const looked = await stack.exai(["doctor", "--json"], { env: { EXAI_HOME: home } });
  expect(doctorReport.parse(JSON.parse(looked.stdout)).recorded).toBe(false);
  expect(existsSync(home)).toBe(false);
});
