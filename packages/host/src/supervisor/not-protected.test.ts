import { expect, test } from "vitest";
import { notProtected } from "./not-protected.ts";

test("names what this host does not hold", () => {
  const whole = notProtected("kvm", { enforced: true, cores: 2, about: "" }, { ok: true, found: "" });
  expect(whole.join("\n")).toMatch(/not encrypted[\s\S]*no network/);
  expect(whole.join("\n")).not.toMatch(/emulation|may use more|floor/);
  const floor = { enforced: false, why: "it needs 3 whole cores" } as const;
  const weak = notProtected("tcg", floor, { ok: false, found: "cgroup v2 is not mounted" });
  expect(weak.join("\n")).toMatch(/floor not enforced: .*it needs 3 whole cores/);
  expect(weak.join("\n")).toMatch(/may use more memory, CPU and processes.* cgroup v2 is not mounted[\s\S]*emulation/);
  expect(notProtected("kvm", undefined).join("\n")).toMatch(/floor not enforced: .*node agent does not answer/);
});
