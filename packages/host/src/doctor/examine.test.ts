import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { doctorCheckIds, doctorReport, doctorSummary } from "@exai/api/host";
import { describe, expect, it } from "vitest";
import { HostError } from "../errors.ts";
import { FakeHost, goodContext } from "../testing/doctor-host.fixture.ts";
import { failures } from "./check.ts";
import { allChecks } from "./checks.ts";
import { examine, requireFit, summaryOf } from "./examine.ts";
import { doctorSchema, doctorSchemaFile } from "./schema.ts";

const context = goodContext("/images");
/** Its only lack is an image store. */
const images = { platform: "linux", arch: "x64", uid: 0, qemu: "/x", flock: "/x", launcher: "/x" };

describe("a report", () => {
  it("is what its schema says, in both modes", async () => {
    for (const mode of ["development", "production"] as const) {
      const report = await examine(mode, context, new FakeHost());
      expect(doctorReport.parse(JSON.parse(JSON.stringify(report)))).toEqual(report);
      expect(doctorSummary.parse(summaryOf(report)).checks).toHaveLength(report.checks.length);
    }
  });

  it("has the published schema; node packages/host/src/doctor/schema.ts renews it", () => {
    expect(JSON.parse(readFileSync(doctorSchemaFile, "utf8"))).toEqual(JSON.parse(JSON.stringify(doctorSchema())));
  });

  it("of production has every check, one of development those that a first try needs", async () => {
    const ids = async (mode: "development" | "production") =>
      (await examine(mode, context, new FakeHost())).checks.map(({ id }) => id);
    expect(await ids("production")).toEqual([...doctorCheckIds]);
    const some = await ids("development");
    expect(some.length).toBeLessThan(25);
    expect(some).toEqual(doctorCheckIds.filter((id) => some.includes(id)));
  });

  it("gives nobody's text to the audit log", async () => {
    const host = new FakeHost({ files: { "/proc/sys/kernel/core_pattern": "|/evil" } });
    const report = await examine("production", context, host);
    expect(JSON.stringify(report)).toContain("evil");
    expect(JSON.stringify(summaryOf(report))).not.toContain("evil");
  });
});

describe("production", () => {
  const fit = async (files: Record<string, string>) => {
    const found = await examine("production", context, new FakeHost({ files }));
    const checks = found.checks.filter(({ id }) => id !== "images");
    return () => requireFit({ ...found, ok: failures(checks).length === 0, checks });
  };

  it("is refused in one sentence with the ids of what fails, and of what nobody can tell", async () => {
    const one = await fit({ "/sys/kernel/mm/ksm/run": "1" });
    expect(one).toThrow(HostError);
    expect(one).toThrow(
      /^this host fails a check for production: ksm; 'exai doctor --production' says why and what to do$/,
    );
    const two = await fit({ "/sys/kernel/mm/ksm/run": "?", "/proc/swaps": "?" });
    expect(two).toThrow(/^this host fails 2 checks for production: ksm, swap; /);
  });

  it("is not refused for a warning, nor for what is not known but would only be one", async () => {
    const files = { "/proc/sys/kernel/printk": "?", "/proc/sys/net/core/bpf_jit_harden": "0" };
    const { checks } = await examine("production", context, new FakeHost({ files }));
    const statuses = checks.filter(({ id }) => /^(kernel-console|bpf-jit-harden)$/.test(id)).map((each) => each.status);
    expect(statuses).toEqual(["unknown", "warn"]);
    expect(await fit(files)).not.toThrow();
  });
});

describe("the commands that show it", () => {
  const checks = allChecks({ ...context, system: images });

  it.each(checks.map(({ id, command }) => [id, command]))("%s: is a shell's, and changes nothing", (_id, command) => {
    execFileSync("/bin/sh", ["-n", "-c", command]);
    expect(command.replace(/'[^']*'/g, "")).not.toMatch(/>|\btee\b|\brm\b|sysctl -w|\becho\b|modprobe|mount/);
  });

  it("the remedy for core dumps can be pasted into a shell: the bar is no pipe", () => {
    const remedy = checks.find(({ id }) => id === "core-dumps")?.remedy ?? "";
    const script = `sysctl() { printf '%s\\n' "$@"; }; ${remedy}`;
    expect(execFileSync("/bin/sh", ["-c", script], { encoding: "utf8" })).toBe("-w\nkernel.core_pattern=|/bin/false\n");
  });
});
