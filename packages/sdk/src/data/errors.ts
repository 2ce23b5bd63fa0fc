import { Code, ConnectError } from "@connectrpc/connect";
import { errorCode } from "@exai/base";
import { SdkError, type SdkErrorCode } from "../errors.ts";

const codes: Readonly<Partial<Record<Code, SdkErrorCode>>> = {
  [Code.Canceled]: "cancelled",
  [Code.InvalidArgument]: "invalid",
  [Code.DeadlineExceeded]: "timeout",
  [Code.NotFound]: "not-found",
  [Code.AlreadyExists]: "exists",
  [Code.PermissionDenied]: "denied",
  [Code.ResourceExhausted]: "exhausted",
  [Code.FailedPrecondition]: "precondition",
  [Code.OutOfRange]: "invalid",
  [Code.Unavailable]: "not-running",
  [Code.DataLoss]: "bad-answer",
  [Code.Unauthenticated]: "unauthenticated",
};

/** The connection broke or was never there: no gRPC status came from the peer. */
export function isConnectionFailure(error: unknown): boolean {
  if (!(error instanceof ConnectError)) return false;
  // A status of the peer has no cause; what Node says of a socket or stream does.
  for (let at: unknown = error.cause, depth = 0; at !== undefined && depth < 4; depth++) {
    const code = errorCode(at);
    if (code !== undefined && /^(E[A-Z]+|ERR_HTTP2_.*|ERR_STREAM_.*)$/.test(code)) return true;
    at = at instanceof Error ? at.cause : undefined;
  }
  // A stream that ends without trailers: the channel process died in the middle.
  return (
    error.cause === undefined &&
    /missing trailer|protocol error: |premature|stream closed|http\/2/i.test(error.rawMessage)
  );
}

/** A TLS refusal: the peer is not the host that the profile names. */
const isForeignHost = (error: ConnectError): boolean =>
  /^(ERR_TLS_|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_SSL)/.test(errorCode(error.cause) ?? "");

/** What a data-plane call threw, in the SDK's own words. `what` begins the sentence. */
export function toSdkError(error: unknown, what: string): SdkError {
  if (error instanceof SdkError) return error;
  if (!(error instanceof ConnectError)) return new SdkError("internal", `${what} failed`, { cause: error });
  if (isForeignHost(error)) {
    return new SdkError("forged", `${what}: the server is not the host of the profile; do not trust its address`, {
      cause: error.cause,
    });
  }
  if (isConnectionFailure(error)) {
    return new SdkError("connection-lost", `${what}: the connection to the host broke; try again`, {
      cause: error.cause,
    });
  }
  const said = error.rawMessage === "" ? "" : `: ${error.rawMessage.slice(0, 500)}`;
  return new SdkError(codes[error.code] ?? "internal", `${what}${said}`);
}
