import { z } from "zod";
import { workspaceId } from "../ids.ts";

const count = z.int().min(0);

/**
 * What a VMM last wrote of its devices, summed over its reports of the last minutes. A guest that took its VMM over can
 * write what it likes here: it is something to look at, never something to decide by.
 */
export const deviceReport = z.strictObject({
  workspace: workspaceId,
  /** When the first and the last of these reports were written, milliseconds since the epoch. */
  fromMs: count,
  untilMs: count,
  /** Times that a device stopped work because its rate limiter had nothing left. */
  throttled: z.strictObject({ disk: count, entropy: count }),
  /** What the guest asked of a device that could not be done, or made no sense. */
  failed: z.strictObject({ disk: count, entropy: count, vsock: count, balloon: count }),
  /** System calls that the VMM's seccomp filter stopped, since it was started. It ends at the first. */
  filtered: count,
  /** Lines that are missing in its log. */
  lostLog: count,
});
export type DeviceReport = z.infer<typeof deviceReport>;

/**
 * Reports that say more than that all is well, the worst of them first.
 * `more` is how many there are beside them.
 */
export const deviceReports = z.strictObject({ reports: z.array(deviceReport).max(1000), more: count });
export type DeviceReports = z.infer<typeof deviceReports>;

/** Leaves out what is well, and all but the worst `most`. */
export function worstReports(all: readonly DeviceReport[], most: number): DeviceReports {
  const remarkable = all.filter((each) => severity(each).some((sum) => sum > 0)).toSorted(bySeverity);
  return { reports: remarkable.slice(0, most), more: Math.max(0, remarkable.length - most) };
}

const severity = ({ filtered, failed, lostLog, throttled }: DeviceReport): [number, number, number, number] => {
  const sum = (counts: object): number => Object.values(counts).reduce((a: number, b: number) => a + b, 0);
  return [filtered, sum(failed), lostLog, sum(throttled)];
};

function bySeverity(a: DeviceReport, b: DeviceReport): number {
  const [of, other] = [severity(a), severity(b)];
  const at = of.findIndex((each, index) => each !== other[index]);
  return at < 0 ? 0 : (other[at] ?? 0) - (of[at] ?? 0);
}
