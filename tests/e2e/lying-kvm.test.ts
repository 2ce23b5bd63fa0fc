import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { firecrackerFolder } from "../../tools/nested-host/firecracker.ts";
import { leftoversOf, tracesOf } from "../support/leftovers.ts";
import { TestStack } from "../support/stack.ts";

/** A host whose /dev/kvm opens and runs no guest, as the probe found in this boot: the answer is put where it keeps it. */
const reason = "a guest under KVM died before user space";
function lying(home: string): void {
  const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  const answer = { bootId, value: { works: false, reason } };
  writeFileSync(join(home, "host-checks.json"), JSON.stringify(answer));
}

let stack: TestStack;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "exai-lying-"));
  stack = await TestStack.start([], lying);
});
afterAll(async () => {
  await stack?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

describe("a host whose KVM lies", () => {
  it("emulates, and says why", async () => {
    expect((await stack.must(["status"])).stdout).toMatch(new RegExp(`accelerator +tcg: ${reason}; emulation is for`));
    expect((await stack.must(["run", "--memory", "128M", "--", "echo", "here"])).stdout).toBe("here\n");
    await stack.must(["down"]);
    const again = await stack.must(["up", "-d"]);
    expect(again.stdout).toContain(`KVM is not used: ${reason}`);
  });

  const release = join(firecrackerFolder(), "firecracker");
  const wrong = () => join(folder, "firecracker");

  it.each([
    {
      what: "a Firecracker that was named",
      path: () => release,
      says: new RegExp(`needs KVM, and ${reason}; without`),
    },
    { what: "one that nobody vouches for", path: wrong, says: /no Firecracker that this build knows: its SHA-256 is/ },
    { what: "one that is not there", path: () => "/no/such/file", says: /is not a file; give the path/ },
  ])("refuses $what, and changes nothing", async ({ path, says }) => {
    copyFileSync("/bin/true", wrong());
    await stack.exai(["down"]);
    const before = {
      files: readdirSync(stack.home, { recursive: true }).toSorted(),
      others: leftoversOf(tracesOf(stack.home)),
    };
    const ran = await stack.exai(["up", "-d", "--firecracker", path()]);
    expect(ran.stderr).toMatch(says);
    expect(ran.stderr.trim().split("\n")).toHaveLength(1);
    expect(ran.code).toBe(1);
    const after = {
      files: readdirSync(stack.home, { recursive: true }).toSorted(),
      others: leftoversOf(tracesOf(stack.home)),
    };
    expect(after).toEqual(before);
    expect((await stack.exai(["status"])).stderr).toMatch(/no stack runs/);
  });
});
