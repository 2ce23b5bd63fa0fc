import type { DoctorMode, DoctorReport, DoctorSummary } from "@exai/api/host";
import { HostError } from "../errors.ts";
import { version } from "../version.ts";
import { failures, runCheck } from "./check.ts";
import { allChecks } from "./checks.ts";
import type { DoctorContext } from "./context.ts";
import { type HostFacts, thisHost } from "./facts.ts";

/** Looks at this host. `recorded` is for whoever tells a stack of it. */
export async function examine(
  mode: DoctorMode,
  context: DoctorContext,
  facts: HostFacts = thisHost,
): Promise<DoctorReport> {
  const checks = [];
  for (const check of allChecks(context)) {
    const result = await runCheck(check, mode, facts);
    if (result !== undefined) checks.push(result);
  }
  const ok = failures(checks).length === 0;
  return { schema: "exai.doctor/v1", version, at: new Date().toISOString(), mode, ok, recorded: false, checks };
}

/** What of it a tenant's audit log gets. */
export const summaryOf = ({ at, mode, ok, checks }: DoctorReport): DoctorSummary => ({
  at,
  mode,
  ok,
  checks: checks.map(({ id, status }) => ({ id, status })),
});

/**
 * The same report, of a host that is fit.
 * @throws HostError `platform` for a host on which production must not start, with the ids of what is wrong
 */
export function requireFit(report: DoctorReport): DoctorReport {
  if (report.ok) return report;
  const failed = failures(report.checks).map(({ id }) => id);
  const what = failed.length === 1 ? "a check" : `${failed.length} checks`;
  throw new HostError(
    "platform",
    `this host fails ${what} for production: ${failed.join(", ")}; 'exai doctor --production' says why and what to do`,
  );
}
