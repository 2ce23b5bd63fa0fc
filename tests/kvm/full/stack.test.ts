// nested-host: always
import { chmodSync, copyFileSync, mkdirSync, rmSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { firecrackerFolder } from "../../../tools/nested-host/firecracker.ts";
import { TestStack } from "../../support/stack.ts";

/** What a user has on a host whose KVM works: the same commands, and Firecracker behind them without a word about it. */
const slow = { timeoutMs: 300_000 };
const usual = "/usr/local/bin/firecracker";

beforeAll(() => {
  mkdirSync("/usr/local/bin", { recursive: true });
  copyFileSync(`${firecrackerFolder()}/firecracker`, usual);
  chmodSync(usual, 0o755);
});
afterAll(() => rmSync(usual));

it("a stack chooses Firecracker by itself, and a program runs in it", { timeout: 850_000 }, async () => {
  await using stack = await TestStack.start([], undefined, slow);
  const status = JSON.parse((await stack.must(["status", "--json"], slow)).stdout);
  expect(status).toMatchObject({ vmm: "Firecracker 1.12.1", accelerator: "kvm" });
  const ran = await stack.must(["run", "--memory", "256M", "--", "sh", "-c", "uname -r; id -u"], slow);
  expect(ran.stdout).toMatch(/-exai\n1000\n$/);
  await stack.must(["workspace", "create", "--name", "kept", "--memory", "256M"], slow);
  const inspected = JSON.parse((await stack.must(["workspace", "inspect", "kept", "--json"], slow)).stdout);
  expect(inspected.observed).toMatchObject({ phase: "running", vmm: "firecracker", accelerator: "kvm" });
  await stack.must(["workspace", "rm", "kept"], slow);
});
