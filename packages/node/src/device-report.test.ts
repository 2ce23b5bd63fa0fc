import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DeviceReport, worstReports } from "@exai/api/host";
import { newWorkspaceId } from "@exai/base";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readDeviceReport } from "./device-report.ts";

const workspace = newWorkspaceId();
let folder: string;
let newest: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-device-report-"));
  newest = join(folder, "metrics.json");
});
afterEach(() => rmSync(folder, { recursive: true }));

const read = () => readDeviceReport(workspace, newest);
const line = (ms: number, groups: object = {}): string => `${JSON.stringify({ utc_timestamp_ms: ms, ...groups })}\n`;

test("no file, an empty one and one of other lines are no report", () => {
  expect(read()).toBeUndefined();
  writeFileSync(newest, "");
  expect(read()).toBeUndefined();
  writeFileSync(newest, "{}\nnull\n[[[[\n");
  expect(read()).toBeUndefined();
});

test("counts since the line before are summed, from the older file on", () => {
  const first = line(1000, { block: { rate_limiter_throttled_events: 2, invalid_reqs_count: 1 } });
  const cut = line(2000, { vsock: { muxer_event_fails: 4 }, entropy: { entropy_rate_limiter_throttled: 5 } });
  writeFileSync(`${newest}.1`, first + cut.slice(0, 30));
  writeFileSync(newest, cut.slice(30) + line(3000, { block: { rate_limiter_throttled_events: 3, event_fails: 1 } }));
  expect(read()).toEqual({
    ...{ workspace, fromMs: 1000, untilMs: 3000, filtered: 0, lostLog: 0 },
    throttled: { disk: 5, entropy: 5 },
    failed: { disk: 2, entropy: 0, vsock: 4, balloon: 0 },
  });
});

test("what counts from the start is not summed", () => {
  writeFileSync(newest, line(1, { seccomp: { num_faults: 1 } }) + line(2, { seccomp: { num_faults: 1 } }));
  expect(read()?.filtered).toBe(1);
});

test("what was written long ago is no report of now, but for the VMM's last word", () => {
  const long = new Date(Date.now() - 6 * 60_000);
  writeFileSync(newest, line(1, { block: { event_fails: 1 } }));
  expect(read()).toBeDefined();
  utimesSync(newest, long, long);
  expect(read()).toBeUndefined();
  writeFileSync(newest, line(1, { seccomp: { num_faults: 1 } }));
  utimesSync(newest, long, long);
  expect(read()).toMatchObject({ filtered: 1 });
});

test("a quiet VMM is left out; each count alone is a report, the worst first", () => {
  writeFileSync(newest, line(1));
  const quiet = read();
  if (quiet === undefined) throw new Error("there is one");
  const all: DeviceReport[] = [
    { ...quiet, throttled: { disk: 9, entropy: 0 } },
    { ...quiet, throttled: { disk: 10, entropy: 0 } },
    { ...quiet, lostLog: 1 },
    { ...quiet, failed: { ...quiet.failed, balloon: 1 } },
    { ...quiet, filtered: 1 },
  ];
  expect(worstReports([quiet, ...all, quiet], 10)).toEqual({ reports: all.toReversed(), more: 0 });
  expect(worstReports([...all, quiet], 2)).toEqual({ reports: all.toReversed().slice(0, 2), more: 3 });
});

test("a VMM that somebody took over can fill it: no sum leaves its bounds, and it costs no time", () => {
  const most = { block: { execute_fails: Number.MAX_SAFE_INTEGER, invalid_reqs_count: Number.MAX_SAFE_INTEGER } };
  const lies = [
    '{"utc_timestamp_ms":1,"block":{"execute_fails":-5}}',
    '{"utc_timestamp_ms":1e400}',
    "[".repeat(20_000),
  ];
  writeFileSync(newest, `${lies.join("\n")}\n${line(7, most)}${line(8, most)}`);
  expect(read()).toMatchObject({ fromMs: 7, untilMs: 8, failed: { disk: Number.MAX_SAFE_INTEGER } });
  for (const one of ["x", "\n", "{\n", "{{\n", '{"utc_timestamp_ms":1}\n']) {
    writeFileSync(newest, `${one.repeat(64 << 10)}\n`);
    const startedMs = performance.now();
    for (let times = 0; times < 100; times++) read();
    expect(performance.now() - startedMs).toBeLessThan(1000); // all lines of it would take some 100 ms each time
  }
});
