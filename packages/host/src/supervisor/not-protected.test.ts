import { expect, test } from "vitest";
import { notProtected } from "./not-protected.ts";

test("names what this host does not hold", () => {
  const whole = notProtected("kvm", { ok: true, found: "" });
  expect(whole.join("\n")).toMatch(/not encrypted[\s\S]*no network[\s\S]*no core is guaranteed/);
  expect(whole.join("\n")).not.toMatch(/emulation|may use more/);
  const weak = notProtected("tcg", { ok: false, found: "cgroup v2 is not mounted" });
  expect(weak.join("\n")).toMatch(/may use more memory, CPU and processes.* cgroup v2 is not mounted[\s\S]*emulation/);
});
