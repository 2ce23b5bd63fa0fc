import type { DoctorCheckId, DoctorMode, DoctorResult, DoctorSeverity } from "@exai/api/host";
import { describeError } from "@exai/base";
import type { HostFacts } from "./facts.ts";

/** What a look has found, one sentence. `bad` becomes the check's severity. */
export interface Finding {
  readonly is: "ok" | "bad" | "unknown" | "not-applicable";
  readonly found: string;
}

export const ok = (found: string): Finding => ({ is: "ok", found });
export const bad = (found: string): Finding => ({ is: "bad", found });
export const unknown = (found: string): Finding => ({ is: "unknown", found });
export const notApplicable = (found: string): Finding => ({ is: "not-applicable", found });
export const okIf = (good: boolean, found: string): Finding => (good ? ok(found) : bad(found));

export interface Check {
  readonly id: DoctorCheckId;
  /** Without `development` it is not looked at there. */
  readonly severity: { readonly development?: DoctorSeverity; readonly production: DoctorSeverity };
  /** Why it matters. */
  readonly reason: string;
  /** What to do about it. */
  readonly remedy: string;
  /** A shell command that shows a person the same, and changes nothing. */
  readonly command: string;
  /** A throw counts as unknown, never as ok. */
  look(facts: HostFacts): Promise<Finding> | Finding;
}

/** Undefined where the mode has no such check. */
export async function runCheck(check: Check, mode: DoctorMode, facts: HostFacts): Promise<DoctorResult | undefined> {
  const severity = check.severity[mode];
  if (severity === undefined) return undefined;
  const { id, reason, remedy, command } = check;
  const { is, found } = await lookAt(check, facts);
  return { id, status: is === "bad" ? severity : is, severity, found: oneLine(found), reason, remedy, command };
}

async function lookAt(check: Check, facts: HostFacts): Promise<Finding> {
  try {
    return await check.look(facts);
  } catch (error) {
    return unknown(describeError(error) || "the look at it failed");
  }
}

/** Whatever a file said: it forges no line, moves no cursor and turns no text around. */
const oneLine = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu, " ").slice(0, 500) || "nothing";

/** What keeps a stack from starting in this mode. What is not known is not known to be good. */
export const failures = (results: readonly DoctorResult[]): DoctorResult[] =>
  results.filter(({ severity, status }) => severity === "fail" && (status === "fail" || status === "unknown"));
