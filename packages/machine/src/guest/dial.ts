import { type Clock, systemClock } from "@exai/base";
import { GuestError } from "./errors.ts";
import { type ConnectOptions, connectGuest, type GuestSession } from "./session.ts";

export interface DialOptions extends ConnectOptions {
  /** Until when the guest must have said hello. */
  timeoutMs: number;
  clock?: Clock;
}

/** A connection that is refused or lost is tried again this soon: it bounds what dialling adds to a boot. */
const retryMs = 10;

/**
 * Connects as often as it takes until the guest says hello: before the VMM listens, while the guest boots (one
 * connection then simply waits in QEMU), and across a reboot of the guest.
 * @throws GuestError `no-guest` after the time; `wrong-contract` and `guest-misbehaved` at once
 */
export async function dialGuest(socketPath: string, options: DialOptions): Promise<GuestSession> {
  const clock = options.clock ?? systemClock;
  const endMs = clock.monotonicMs() + options.timeoutMs;
  for (;;) {
    const leftMs = endMs - clock.monotonicMs();
    try {
      const limits = { ...options.limits, helloTimeoutMs: Math.max(1, leftMs) };
      return await connectGuest(socketPath, { ...options, limits });
    } catch (error) {
      const again = error instanceof GuestError && (error.code === "no-guest" || error.code === "channel-lost");
      if (!again) throw error;
      if (clock.monotonicMs() + retryMs >= endMs) {
        throw new GuestError("no-guest", `the guest said nothing within ${options.timeoutMs} ms`, { cause: error });
      }
    }
    await clock.sleep(retryMs, options.signal);
  }
}
