import { dialGuest, type GuestLimits, type GuestSession } from "@exai/machine";
import { HostError } from "./errors.ts";
import type { HostProcess } from "./process.ts";

/** It is ours and slow: what would be a lie elsewhere is patience here. */
const patience: Partial<GuestLimits> = { pingTimeoutMs: 300_000, unaryTimeoutMs: 300_000, headersTimeoutMs: 300_000 };
const bootMs = 180_000;

/** The first words with a nested host that boots or was restored; they set its clock. @throws HostError `boot` */
export async function connect(process: HostProcess, signal?: AbortSignal): Promise<GuestSession> {
  const giveUp = new AbortController();
  const signals = signal === undefined ? [giveUp.signal] : [giveUp.signal, signal];
  const dialled = dialGuest(process.path("channel"), {
    hostname: "nested-host",
    timeoutMs: bootMs,
    limits: patience,
    signal: AbortSignal.any(signals),
  });
  const ended = process.exited.then(({ how }) => {
    throw process.failure(`the nested host ${how}`);
  });
  try {
    return await Promise.race([dialled, ended]);
  } catch (error) {
    giveUp.abort();
    if (error instanceof HostError) throw error;
    throw process.failure("the nested host did not say hello", error);
  }
}
