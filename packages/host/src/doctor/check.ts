export type Severity = "fail" | "warn" | "info";

export interface CheckResult {
  readonly id: string;
  readonly ok: boolean;
  /** How much it matters when it is not ok. `fail`: the stack won't start. */
  readonly severity: Severity;
  /** What was found, one sentence. */
  readonly found: string;
  /** Why it matters. */
  readonly reason: string;
  /** What to do about it. */
  readonly remedy: string;
}

export interface Check {
  readonly id: string;
  readonly severity: Severity;
  readonly reason: string;
  readonly remedy: string;
  /** @returns what was found; a throw counts as not ok with its message */
  look(): Promise<{ ok: boolean; found: string }> | { ok: boolean; found: string };
}

export async function runCheck(check: Check): Promise<CheckResult> {
  const { id, severity, reason, remedy } = check;
  try {
    return { id, severity, reason, remedy, ...(await check.look()) };
  } catch (error) {
    return { id, severity, reason, remedy, ok: false, found: error instanceof Error ? error.message : String(error) };
  }
}
