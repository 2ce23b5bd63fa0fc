import { audiences, type IntentClaims, intentClaims, jwsTypes } from "@exai/api";
import type { TenantAnchor } from "@exai/api/host";
import { PolicyError } from "./errors.ts";
import { checkBegun, checkNotExpired, openJws, parseClaims } from "./jws.ts";

/** Longest life of an intent, seconds: how long a control plane can hold one back. */
export const maxIntentSeconds = 3600;

/**
 * Verifies all of an intent but its end: whether an expired one still counts depends on whether it was taken in time,
 * which the ledger knows.
 * @throws PolicyError
 */
export async function readIntent(jws: string, anchor: TenantAnchor, nowMs: number): Promise<IntentClaims> {
  const raw = await openJws(jws, jwsTypes.intent, anchor.signingKey);
  const audience = typeof raw === "object" && raw !== null && "aud" in raw ? raw.aud : undefined;
  if (audience !== audiences.intent) throw new PolicyError("wrong-audience", "the token is not meant for a host");
  const claims = parseClaims(intentClaims, raw);
  if (claims.iss !== anchor.tenant) {
    throw new PolicyError("unknown-tenant", "the intent names another tenant than the one whose key signed it");
  }
  checkBegun(claims, maxIntentSeconds, nowMs);
  return claims;
}

/**
 * Verifies a fresh intent. It says nothing of earlier ones: that is `applyIntents`.
 * @throws PolicyError
 */
export async function verifyIntent(jws: string, anchor: TenantAnchor, nowMs: number): Promise<IntentClaims> {
  const claims = await readIntent(jws, anchor, nowMs);
  checkNotExpired(claims, nowMs);
  return claims;
}
