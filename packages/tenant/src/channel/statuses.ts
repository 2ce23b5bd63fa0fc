import { Code, ConnectError } from "@connectrpc/connect";
import { errorCode } from "@exai/base";
import { channelFault } from "@exai/machine/guest";
import { TenantError } from "../errors.ts";

/** Statuses that the contract lets a guest answer with; anything else is the guest's fault. */
const guestCodes: ReadonlySet<Code> = new Set([
  Code.Canceled,
  Code.InvalidArgument,
  Code.DeadlineExceeded,
  Code.NotFound,
  Code.AlreadyExists,
  Code.PermissionDenied,
  Code.ResourceExhausted,
  Code.FailedPrecondition,
  Code.Aborted,
  Code.OutOfRange,
  Code.Unimplemented,
  Code.Unavailable,
  Code.Internal,
]);

const longestMessage = 500;

/** What the client is told when a forwarded call fails. The guest's own text is cut and cleaned, its metadata dropped. */
export function toClientError(error: unknown): ConnectError {
  if (error instanceof TenantError) return fromTenantError(error);
  const fault = channelFault(error);
  if (fault !== undefined) return fromFault(fault.code);
  if (!(error instanceof ConnectError))
    return new ConnectError("the call failed", Code.Internal, undefined, undefined, error);
  // A guest's own status has no cause; a socket that broke under the call has.
  if (/^E/.test(errorCode(error.cause) ?? "")) return fromFault("channel-lost");
  if (!guestCodes.has(error.code)) return new ConnectError("the guest broke its contract", Code.DataLoss);
  return new ConnectError(cleanText(error.rawMessage), error.code);
}

function fromTenantError(error: TenantError): ConnectError {
  switch (error.code) {
    case "busy":
      return new ConnectError(error.message, Code.ResourceExhausted);
    case "broken-guest":
      return new ConnectError(error.message, Code.DataLoss);
    default:
      return new ConnectError(error.message, Code.Unavailable);
  }
}

function fromFault(code: NonNullable<ReturnType<typeof channelFault>>["code"]): ConnectError {
  switch (code) {
    case "guest-misbehaved":
    case "wrong-contract":
      return new ConnectError("the guest broke its contract, and its channel was cut", Code.DataLoss);
    case "too-many-calls":
      return new ConnectError("too many calls at once on this workspace", Code.ResourceExhausted);
    case "stalled":
      return new ConnectError("the guest did not answer in time", Code.DeadlineExceeded);
    default:
      return new ConnectError(
        "the connection to the guest was lost; the workspace was stopped or starts again",
        Code.Unavailable,
      );
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: removing them is the point
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;
const cleanText = (text: string): string => text.slice(0, longestMessage).toWellFormed().replace(controls, " ");
