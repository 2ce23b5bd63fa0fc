import { CodedError } from "@exai/base";

export type PolicyErrorCode =
  | "malformed"
  | "bad-signature"
  | "wrong-type"
  | "wrong-audience"
  | "unknown-tenant"
  | "wrong-workspace"
  | "scope-missing"
  | "not-yet-valid"
  | "expired"
  | "too-long-lived";

export class PolicyError extends CodedError<PolicyErrorCode> {}
