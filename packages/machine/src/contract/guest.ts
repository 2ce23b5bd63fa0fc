import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Exited, StartRequestSchema } from "@exai/api/guest";
import type { GuestSession } from "../guest/index.ts";

export interface RunResult {
  stdout: string;
  stderr: string;
  exited: Exited | undefined;
}

export const bytes = (text: string): Uint8Array => Buffer.from(text);

/** Runs a shell's script in the guest to its end. */
export async function sh(
  session: GuestSession,
  script: string,
  more: MessageInitShape<typeof StartRequestSchema> = {},
): Promise<RunResult> {
  const result: RunResult = { stdout: "", stderr: "", exited: undefined };
  const argv = ["/bin/sh", "-c", script].map(bytes);
  for await (const { event } of session.processes.run({ argv, user: "root", ...more })) {
    if (event.case === "stdout") result.stdout += Buffer.from(event.value.data).toString();
    if (event.case === "stderr") result.stderr += Buffer.from(event.value.data).toString();
    if (event.case === "exited") result.exited = event.value;
  }
  return result;
}

/** A port's bytes: sends all, closes its side, and returns what came back until the other side closed. */
export async function talk(session: GuestSession, port: number, text: string): Promise<string> {
  async function* frames() {
    yield { frame: { case: "connect" as const, value: { port } } };
    yield { frame: { case: "data" as const, value: bytes(text) } };
  }
  let reply = "";
  for await (const { frame } of session.ports.connect(frames())) {
    if (frame.case === "data") reply += Buffer.from(frame.value).toString();
  }
  return reply;
}

/**
 * Both clocks at one moment, as NTP reads them (RFC 5905 section 8): the guest's is somewhere between asking and hearing,
 * and of several answers the quickest says most.
 */
export async function readClock(guest: GuestSession): Promise<{ guestMs: number; hostMs: number; errorMs: number }> {
  let best = { guestMs: 0, hostMs: 0, errorMs: Number.POSITIVE_INFINITY };
  for (let round = 0; round < 5; round++) {
    const askedMs = Date.now();
    const guestMs = Number((await sh(guest, "date +%s%N")).stdout.slice(0, -7));
    const errorMs = (Date.now() - askedMs) / 2;
    if (errorMs < best.errorMs) best = { guestMs, hostMs: askedMs + errorMs, errorMs };
  }
  return best;
}
