import { CodedError } from "@exai/base";

export type HostErrorCode =
  | "not-root"
  | "platform"
  | "home"
  | "newer-home"
  | "locked"
  | "uids"
  | "missing"
  | "enrolment"
  | "not-running"
  | "child"
  | "control"
  | "admission"
  | "journal"
  | "interrupted";

/** What an operator can do something about; the message says what. */
export class HostError extends CodedError<HostErrorCode> {}
