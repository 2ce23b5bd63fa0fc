import { CodedError } from "@exai/base";

/**
 * What can be wrong with the channel itself; what a call's own answer says is a `ConnectError` with a gRPC status.
 *
 * - `no-guest`: nothing listens on the socket, or nobody answered in time.
 * - `channel-lost`: the connection ended (guest rebooted, VMM killed); a new one may work.
 * - `unresponsive`: the guest stopped answering pings.
 * - `guest-misbehaved`: the guest broke HTTP/2 or gRPC, or went over a limit; the connection was cut.
 * - `wrong-contract`: the guest speaks another version of spec/guest.proto.
 * - `too-many-calls`: our own bound of calls at once on one channel.
 * - `stalled`: the guest took no bytes, or sent no answer, for too long; only that call was ended.
 * - `closed`: we closed the session ourselves.
 */
export type GuestErrorCode =
  | "no-guest"
  | "channel-lost"
  | "unresponsive"
  | "guest-misbehaved"
  | "wrong-contract"
  | "too-many-calls"
  | "stalled"
  | "closed";

export class GuestError extends CodedError<GuestErrorCode> {}

/** The channel's fault behind a failed call, or undefined when the guest answered with a status of its own. */
export function channelFault(error: unknown): GuestError | undefined {
  let at: unknown = error;
  for (let depth = 0; at instanceof Error && depth < 8; depth++) {
    if (at instanceof GuestError) return at;
    at = at.cause;
  }
  return undefined;
}
