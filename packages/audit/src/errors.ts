import { CodedError } from "@exai/base";

/**
 * - `invalid-event`: an event is out of its limits or has an unknown action.
 * - `no-space`: the quota or the disk is full; the step that asked must not be taken.
 * - `io`: the disk failed; the step must not be taken.
 * - `busy`: more events wait than are allowed; the step must not be taken, a later try may work.
 * - `closed`: the spool was closed.
 * - `tampered`: a spool file is not what its writer wrote.
 * - `not-opened`: a sealed record is not for this key, or was moved from another place.
 */
export type AuditErrorCode = "invalid-event" | "no-space" | "io" | "busy" | "closed" | "tampered" | "not-opened";

export class AuditError extends CodedError<AuditErrorCode> {}
