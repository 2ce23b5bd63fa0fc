import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import { hostChecks } from "./host-checks.ts";

it("the remedy for core dumps can be pasted into a shell: the bar is no pipe", () => {
  const remedy = hostChecks("/var/lib/exai").find(({ id }) => id === "core-dumps")?.remedy ?? "";
  const script = `sysctl() { printf '%s\\n' "$@"; }; ${remedy}`;
  expect(execFileSync("/bin/sh", ["-c", script], { encoding: "utf8" })).toBe("-w\nkernel.core_pattern=|/bin/false\n");
});
