/** Audit events: what they are, how they are sealed to the tenant's log key, and the spool that holds them. */
export { AuditError, type AuditErrorCode } from "./errors.ts";
export {
  type AuditEvent,
  decodeEvent,
  type EventAction,
  type EventDetail,
  type EventOutcome,
  encodeEvent,
  eventActions,
  eventLimits,
  parseEvent,
} from "./event.ts";
export { FolderChanges } from "./folder-changes.ts";
export { type Gap, gapPublicKey, openGap, type SignedGap } from "./gap.ts";
export { privateKeyFromRaw } from "./hpke.ts";
export { type ReadOptions, readSpool, type SpoolItem } from "./read.ts";
export type { RecordKind, SpoolRecord } from "./record.ts";
export { logRecipient, openEvent, type SealPlace, sealEvent } from "./seal.ts";
export { openSpool, Spool, type SpoolOptions, type SpoolStats } from "./spool.ts";
