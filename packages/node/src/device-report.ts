import { statSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { type DeviceReport, type DeviceReports, firecrackerMetrics, worstReports } from "@exai/api/host";
import type { WorkspaceId } from "@exai/base";
import type { z } from "zod";
import { readTail } from "./files.ts";
import { vmPaths } from "./paths.ts";
import { readLaunch } from "./records.ts";

/** Firecracker writes a line of some KiB each minute: this is what it said in the last few. */
const windowBytes = 32 << 10;
/** More are never in the window, unless somebody else writes them, and each costs time to read. */
const mostLines = 16;
const freshMs = 5 * 60_000;

/** Of one tenant's VMs: its worst, which is as many as somebody looks at. */
const shownReports = 20;

/** What the VMMs of some workspaces say, where there is something to look at. */
export async function deviceReports(
  config: Parameters<typeof vmPaths>[0],
  workspaces: readonly WorkspaceId[],
): Promise<DeviceReports> {
  const found: DeviceReport[] = [];
  for (const workspace of workspaces) {
    const paths = vmPaths(config, workspace);
    // An earlier start's may lie there.
    const said = readLaunch(paths.launch)?.machine?.vmm === "firecracker";
    const report = said ? readDeviceReport(workspace, paths.firecrackerMetrics) : undefined;
    if (report !== undefined) found.push(report);
    await setImmediate(); // however many there are, a kill comes in between
  }
  return worstReports(found, shownReports);
}

/**
 * What Firecracker last said of its devices. What it said long ago, by the file's own time, is no report of the last minutes, but for
 * a system call that its filter stopped: that is its last word.
 * @param path the newest of the two files that the launcher keeps
 * @returns undefined where it has said nothing
 */
export function readDeviceReport(workspace: WorkspaceId, path: string, nowMs = Date.now()): DeviceReport | undefined {
  const writtenMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  if (writtenMs === undefined) return undefined;
  const newest = readTail(path, windowBytes);
  // A line may begin in the older one.
  const older = newest.length < windowBytes ? readTail(`${path}.1`, windowBytes - newest.length) : "";
  const report = summed(workspace, lastLines(older + newest).flatMap(parsed));
  return report === undefined || (nowMs - writtenMs > freshMs && report.filtered === 0) ? undefined : report;
}

/** Without splitting what may be one line feed after another. */
function lastLines(text: string): string[] {
  const lines: string[] = [];
  for (let end = text.length; end > 0 && lines.length < mostLines; ) {
    const start = text.lastIndexOf("\n", end - 1) + 1;
    lines.unshift(text.slice(start, end));
    end = start - 1;
  }
  return lines;
}

function summed(workspace: WorkspaceId, lines: readonly Line[]): DeviceReport | undefined {
  const [first, last] = [lines.at(0), lines.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  const sum = (of: (line: Line) => number): number =>
    Math.min(
      lines.reduce((all, line) => all + of(line), 0),
      Number.MAX_SAFE_INTEGER,
    );
  return {
    workspace,
    fromMs: first.utc_timestamp_ms,
    untilMs: last.utc_timestamp_ms,
    throttled: {
      disk: sum(({ block }) => block.rate_limiter_throttled_events),
      entropy: sum(({ entropy }) => entropy.entropy_rate_limiter_throttled),
    },
    failed: {
      disk: sum(({ block }) => block.execute_fails + block.invalid_reqs_count + block.event_fails),
      entropy: sum(({ entropy }) => entropy.entropy_event_fails),
      vsock: sum(
        ({ vsock }) =>
          vsock.rx_queue_event_fails +
          vsock.tx_queue_event_fails +
          vsock.ev_queue_event_fails +
          vsock.muxer_event_fails,
      ),
      balloon: sum(({ balloon }) => balloon.event_fails),
    },
    filtered: Math.max(...lines.map(({ seccomp }) => seccomp.num_faults)),
    lostLog: sum(({ logger }) => logger.missed_log_count),
  };
}

type Line = z.infer<typeof firecrackerMetrics>;

/** A line that was cut, or is none of Firecracker's, says nothing. */
function parsed(line: string): Line[] {
  if (!line.startsWith("{")) return []; // without an exception, which costs ten times as much
  try {
    const result = firecrackerMetrics.safeParse(JSON.parse(line));
    return result.success ? [result.data] : [];
  } catch {
    return [];
  }
}
