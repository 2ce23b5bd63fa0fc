/** What every package shares: ids, errors, time, canonical bytes, units. No I/O. */
export { canonicalBytes, canonicalJson, dssePae, type Json } from "./canonical.ts";
export { type Clock, systemClock } from "./clock.ts";
export {
  BaseError,
  type BaseErrorCode,
  CodedError,
  describeError,
  errorCode,
  InvariantError,
  invariant,
  unreachable,
} from "./errors.ts";
export {
  type HostId,
  type Id,
  isId,
  type LifetimeId,
  newHostId,
  newLifetimeId,
  newTenantId,
  newWorkspaceId,
  parseHostId,
  parseLifetimeId,
  parseTenantId,
  parseWorkspaceId,
  type RandomSource,
  type TenantId,
  type WorkspaceId,
} from "./ids.ts";
export { createLogger, type LogFields, type Logger, type LogLevel } from "./log.ts";
export { Trickle } from "./trickle.ts";
export { formatBytes, parseBytes, parseDurationMs } from "./units.ts";
