import { constants } from "node:os";
import type { Exited } from "@exai/api/guest";
import { SdkError } from "../errors.ts";

/** How a program ended: by `code`, or by `signal`. */
export interface ExitStatus {
  readonly code: number | undefined;
  readonly signal: number | undefined;
  /** Its own time limit ended it. */
  readonly timedOut: boolean;
  readonly startedAt: Date;
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly maxRssBytes: number;
}

export const exitStatus = (exited: Exited): ExitStatus => ({
  code: exited.code,
  signal: exited.signal,
  timedOut: exited.timedOut,
  startedAt: new Date(Number(exited.startedUnixMs)),
  wallMs: Number(exited.wallUs) / 1000,
  cpuMs: Number(exited.cpuUs) / 1000,
  maxRssBytes: Number(exited.maxRssBytes),
});

/** The number a shell would give: 124 after a time limit, 128 + n for a signal, else the program's own. */
export function shellCode(status: ExitStatus): number {
  if (status.timedOut) return 124;
  if (status.signal !== undefined) return 128 + status.signal;
  return status.code ?? 0;
}

/** `INT`, `SIGINT` or a number. @throws SdkError `invalid` */
export function signalNumber(signal: string | number): number {
  if (typeof signal === "number" || /^\d+$/.test(signal)) {
    const number = Number(signal);
    if (number >= 1 && number <= 64) return number;
  } else {
    const name = signal.toUpperCase();
    const all: Readonly<Record<string, number>> = constants.signals;
    const number = all[name.startsWith("SIG") ? name : `SIG${name}`];
    if (number !== undefined) return number;
  }
  throw new SdkError("invalid", `'${signal}' is not a signal; write one like INT or 2`);
}
