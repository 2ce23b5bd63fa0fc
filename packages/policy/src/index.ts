/** Parse, verify, decide: what a tenant signed, and what follows from it. Pure: time and keys are passed in. */
export { PolicyError, type PolicyErrorCode } from "./errors.ts";
export { maxIntentSeconds, readIntent, verifyIntent } from "./intent.ts";
export { clockSkewSeconds } from "./jws.ts";
export { thumbprintOf } from "./keys.ts";
export {
  type Applied,
  applyIntents,
  emptyLedger,
  type IntentLedger,
  type IntentRefusal,
  intentLedger,
  isForgettable,
  type RefusedIntent,
  ttlDueMs,
} from "./ledger.ts";
export { cacheTokens } from "./token-cache.ts";
export {
  type Authenticator,
  authorise,
  type ControlAnchors,
  type ControlPrincipal,
  maxControlTokenSeconds,
  type Principal,
  verifyControlToken,
  verifyDataToken,
} from "./tokens.ts";
