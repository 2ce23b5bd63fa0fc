import { CodedError } from "@exai/base";

/**
 * `no-stack`: there is no profile, so no stack was enrolled here. `bad-profile`: it is broken or readable by others.
 * `unreachable`: nobody answers (control plane or host). `connection-lost`: it broke and did not come back.
 * `bad-answer`: a peer broke the contract. `forged`: an answer does not carry this tenant's own signature.
 * `unauthenticated`, `denied`, `not-found`, `conflict`, `invalid`, `exhausted`, `precondition`, `exists`: as the peer
 * said. `not-running`: the workspace does not run. `failed`: it refused, failed or was quarantined. `timeout`,
 * `cancelled`: by the caller's own limit or signal. `unsafe-tree`: a tree that must not be written.
 * `tree-changed`: a file changed while it was read. `local`: a file or port of this machine. `internal`: the peer failed.
 */
export type SdkErrorCode =
  | "no-stack"
  | "bad-profile"
  | "unreachable"
  | "connection-lost"
  | "bad-answer"
  | "forged"
  | "unauthenticated"
  | "denied"
  | "not-found"
  | "conflict"
  | "invalid"
  | "exhausted"
  | "precondition"
  | "exists"
  | "not-running"
  | "failed"
  | "timeout"
  | "cancelled"
  | "unsafe-tree"
  | "tree-changed"
  | "local"
  | "internal";

export class SdkError extends CodedError<SdkErrorCode> {}
