import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clientProfile, hostAnchor } from "@exai/api/host";
import { newTenantId } from "@exai/base";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeKeyFile } from "../../packages/host/src/enrol/keys.ts";
import { leftoversOf, type StackTraces, tracesOf } from "../support/leftovers.ts";
import { TestStack } from "../support/stack.ts";

/** A tenant that makes its keys itself: the host gets the public ones only. */
let stack: TestStack;
let traces: StackTraces;
let folder: string;
let anchor: Record<"tenant" | "name" | "signingKey" | "logKey", string>;

beforeAll(async () => {
  stack = await TestStack.start();
  traces = tracesOf(stack.home);
  folder = mkdtempSync(join(tmpdir(), "exai-tenant-"));
  anchor = {
    tenant: newTenantId(),
    name: "elsewhere",
    signingKey: makeKeyFile("ed25519", join(folder, "signing.key")),
    logKey: makeKeyFile("x25519", join(folder, "log.key")),
  };
});

afterAll(async () => {
  await stack?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
  expect(leftoversOf(traces)).toEqual([]);
});

const written = (content: unknown): string => {
  const file = join(folder, "anchor.json");
  writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
  return file;
};

it.each([
  ["a file that is not there", () => join(folder, "missing"), /can't be read/],
  ["no JSON", () => written("{"), /is not a tenant's anchor/],
  ["a key of 31 bytes", () => written({ ...anchor, signingKey: "A".repeat(42) }), /is not a tenant's anchor/],
  ["an unknown member", () => written({ ...anchor, admin: true }), /is not a tenant's anchor/],
  ["a name of a path", () => written({ ...anchor, name: "../x" }), /a tenant's name holds/],
  ["too much", () => written("x".repeat(5000)), /is too long/],
])("%s is refused in one sentence, and nothing is enrolled", async (_what, file, says) => {
  const ran = await stack.exai(["tenant", "enrol", file()]);
  expect(ran.code).toBe(1);
  expect(ran.stderr).toMatch(/^exai: [^\n]+\n$/);
  expect(ran.stderr).toMatch(says);
  expect(JSON.parse((await stack.must(["tenant", "ls", "--json"])).stdout)).toHaveLength(1);
});

it("works with its own keys, of which the host has the public halves alone", async () => {
  const enrolled = await stack.must(["tenant", "enrol", written(anchor), "--json"]);
  const host = hostAnchor.parse(JSON.parse(enrolled.stdout).host);
  const clients = join(stack.home, "client");
  const [local = ""] = readdirSync(clients);
  const { control, imageStore } = clientProfile.parse(
    JSON.parse(readFileSync(join(clients, local, "profile.json"), "utf8")),
  );
  expect(existsSync(join(clients, anchor.tenant))).toBe(false);

  const profile = join(folder, "profile.json");
  const keys = { signingKeyFile: "signing.key", logKeyFile: "log.key" };
  writeFileSync(
    profile,
    JSON.stringify({ version: 1, tenant: anchor.tenant, control, hosts: [host], imageStore, ...keys }),
  );
  chmodSync(profile, 0o600);
  const env = { EXAI_PROFILE: profile, EXAI_HOME: "" };
  const ran = await stack.must(["run", "--memory", "128M", "--", "echo", "mine"], { env });
  expect(ran.stdout).toBe("mine\n");
  expect((await stack.must(["events"], { env })).stdout).toMatch(/process\.start/);
  expect((await stack.must(["tenant", "ls"])).stdout).toMatch(/elsewhere/);

  const again = await stack.exai(["tenant", "enrol", written(anchor)]);
  expect(again.stderr).toMatch(/enrolled already/);
});
