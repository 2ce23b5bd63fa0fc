import { type IntentClaims, tenantId, timestamp, workspaceId, workspaceSpec } from "@exai/api";
import { type TenantId, unreachable, type WorkspaceId } from "@exai/base";
import { z } from "zod";
import { hasExpired } from "./jws.ts";

const mostRemembered = 64;

const common = {
  workspace: workspaceId,
  tenant: tenantId,
  spec: workspaceSpec,
  /** Seconds since the epoch, as the tenant signed it: the TTL counts from here. */
  createdAt: timestamp,
  /** The creation can be replayed until then, so the ledger must be kept until then. */
  createExpiresAt: timestamp,
  lastSerial: timestamp,
  /** What was taken, newest last; a repetition is no refusal. */
  taken: z.array(z.string().max(64)).max(mostRemembered),
};

/** What a host knows of a tenant's will for one workspace; JSON, kept in the host's journal. */
export const intentLedger = z.discriminatedUnion("state", [
  z.strictObject({ state: z.literal("empty"), workspace: workspaceId, tenant: tenantId }),
  z.strictObject({ state: z.literal("live"), ...common, desired: z.enum(["running", "stopped"]) }),
  z.strictObject({ state: z.literal("destroyed"), ...common, by: z.enum(["intent", "ttl"]) }),
]);
export type IntentLedger = z.infer<typeof intentLedger>;

export type IntentRefusal =
  | "other-workspace"
  | "not-created"
  | "created-already"
  | "destroyed"
  | "older-serial"
  | "expired";

export interface RefusedIntent {
  readonly intent: IntentClaims;
  readonly code: IntentRefusal;
}

export interface Applied {
  readonly ledger: IntentLedger;
  readonly taken: readonly IntentClaims[];
  readonly refused: readonly RefusedIntent[];
}

export const emptyLedger = (workspace: WorkspaceId, tenant: TenantId): IntentLedger => ({
  state: "empty",
  workspace,
  tenant,
});

/**
 * Takes what the control plane passed on into what was taken before. The intents' signatures are verified
 * (`readIntent`), their order, their number and their repetition are not trusted: whatever is left out, sent again or
 * sent in another order, nothing is destroyed without the tenant's word or its TTL, nothing runs after the last stop
 * that was taken, and the spec never changes.
 */
export function applyIntents(start: IntentLedger, intents: readonly IntentClaims[], nowMs: number): Applied {
  let ledger = expireTtl(start, nowMs);
  const taken: IntentClaims[] = [];
  const refused: RefusedIntent[] = [];
  for (const intent of intents.toSorted((a, b) => a.serial - b.serial)) {
    if (isTaken(ledger, intent)) continue;
    const code = refusal(ledger, intent, nowMs);
    if (code === undefined) {
      ledger = take(ledger, intent);
      taken.push(intent);
    } else {
      refused.push({ intent, code });
    }
  }
  return { ledger: expireTtl(ledger, nowMs), taken, refused };
}

/** When the TTL is due, milliseconds since the epoch; undefined without a TTL or when nothing is left to destroy. */
export function ttlDueMs(ledger: IntentLedger): number | undefined {
  if (ledger.state !== "live" || ledger.spec.ttlSeconds === 0) return undefined;
  return (ledger.createdAt + ledger.spec.ttlSeconds) * 1000;
}

/** A ledger of a destroyed workspace may be forgotten once its creation can't be replayed any more. */
export const isForgettable = (ledger: IntentLedger, nowMs: number): boolean =>
  ledger.state === "destroyed" &&
  hasExpired({ iat: ledger.createdAt, exp: ledger.createExpiresAt }, nowMs - forgetMarginMs);

// The clock may have been set back in between.
const forgetMarginMs = 24 * 3_600_000;

function expireTtl(ledger: IntentLedger, nowMs: number): IntentLedger {
  const dueMs = ttlDueMs(ledger);
  if (ledger.state !== "live" || dueMs === undefined || nowMs < dueMs) return ledger;
  const { desired: _, ...rest } = ledger;
  return { ...rest, state: "destroyed", by: "ttl" };
}

const isTaken = (ledger: IntentLedger, intent: IntentClaims): boolean =>
  ledger.state !== "empty" && ledger.workspace === intent.sub && ledger.taken.includes(intent.jti);

function refusal(ledger: IntentLedger, intent: IntentClaims, nowMs: number): IntentRefusal | undefined {
  if (intent.sub !== ledger.workspace || intent.iss !== ledger.tenant) return "other-workspace";
  if (ledger.state === "empty") {
    if (intent.act !== "create") return "not-created";
  } else {
    if (intent.act === "create") return "created-already";
    if (ledger.state === "destroyed") return "destroyed";
    if (intent.serial <= ledger.lastSerial) return "older-serial";
  }
  return hasExpired(intent, nowMs) ? "expired" : undefined;
}

function take(ledger: IntentLedger, intent: IntentClaims): IntentLedger {
  if (intent.act === "create") {
    return {
      state: "live",
      workspace: intent.sub,
      tenant: intent.iss,
      spec: intent.spec,
      createdAt: intent.iat,
      createExpiresAt: intent.exp,
      lastSerial: intent.serial,
      taken: [intent.jti],
      desired: "running",
    };
  }
  // `refusal` lets nothing else through.
  if (ledger.state !== "live") return ledger;
  const [creation = intent.jti, ...later] = ledger.taken;
  const taken = [creation, ...later.slice(2 - mostRemembered), intent.jti];
  const next = { ...ledger, lastSerial: intent.serial, taken };
  switch (intent.act) {
    case "start":
      return { ...next, desired: "running" };
    case "stop":
      return { ...next, desired: "stopped" };
    case "destroy": {
      const { desired: _, ...rest } = next;
      return { ...rest, state: "destroyed", by: "intent" };
    }
    default:
      return unreachable(intent);
  }
}
