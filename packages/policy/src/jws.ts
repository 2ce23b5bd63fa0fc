import { limits } from "@exai/api";
import { compactVerify, decodeProtectedHeader, errors } from "jose";
import { z } from "zod";
import { PolicyError } from "./errors.ts";
import { publicKeyOf } from "./keys.ts";

/** Nothing but these members: no `crit`, `jwk`, `jku`, `x5u`, `b64`, which only ever widened what a verifier takes. */
const headerSchema = z.strictObject({
  alg: z.literal("EdDSA"),
  typ: z.string().max(64),
  kid: z.string().max(64).optional(),
});

/** Clocks of a tenant and a host may differ by this much. */
export const clockSkewSeconds = 30;

/**
 * Verifies a compact JWS (RFC 7515, EdDSA of RFC 8037) under one key and returns its claims, which no schema has seen.
 * A key that comes in the token is never used. Of members that are named twice the last counts, here and everywhere
 * (ECMA-262 `JSON.parse`), and all of them are under the signature.
 * @throws PolicyError `malformed`, `wrong-type`, `bad-signature`
 */
export async function openJws(jws: string, type: string, rawKey: string): Promise<unknown> {
  if (jws.length > limits.jwsBytes) throw new PolicyError("malformed", `a token has at most ${limits.jwsBytes} bytes`);
  const header = parseHeader(jws);
  if (header.typ !== type) {
    throw new PolicyError("wrong-type", `the token's typ must be ${type}; it was signed for something else`);
  }
  const { key, thumbprint } = publicKeyOf(rawKey);
  if (header.kid !== undefined && header.kid !== thumbprint) {
    throw new PolicyError("bad-signature", "the token names another key than the one that was enrolled");
  }
  try {
    const { payload } = await compactVerify(jws, key, { algorithms: ["EdDSA"] });
    return parsePayload(payload);
  } catch (cause) {
    if (cause instanceof PolicyError) throw cause;
    if (cause instanceof errors.JWSSignatureVerificationFailed) {
      throw new PolicyError("bad-signature", "the signature was not made with the enrolled key", { cause });
    }
    throw new PolicyError("malformed", "this is not a compact JWS", { cause });
  }
}

/** The issuer that a token claims, before anything is verified: good for choosing the key to verify with, nothing else. */
export function claimedIssuer(jws: string): string | undefined {
  if (jws.length > limits.jwsBytes) return undefined;
  const part = jws.split(".")[1] ?? "";
  try {
    const claims: unknown = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
    if (typeof claims !== "object" || claims === null || !("iss" in claims)) return undefined;
    return typeof claims.iss === "string" ? claims.iss : undefined;
  } catch {
    return undefined;
  }
}

/** @throws PolicyError `malformed` */
export function parseClaims<T>(schema: z.ZodType<T>, claims: unknown): T {
  const parsed = schema.safeParse(claims);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const at = issue?.path.join(".") ?? "";
  throw new PolicyError("malformed", `the token's claims break the contract at '${at}': ${issue?.message ?? ""}`);
}

interface Lifetime {
  readonly iat: number;
  readonly exp: number;
}

/** @throws PolicyError `malformed`, `too-long-lived`, `not-yet-valid` */
export function checkBegun({ iat, exp }: Lifetime, longestSeconds: number, nowMs: number): void {
  if (exp <= iat) throw new PolicyError("malformed", "a token must end after it begins");
  if (exp - iat > longestSeconds) {
    throw new PolicyError("too-long-lived", `such a token may live ${longestSeconds} s at most; sign a shorter one`);
  }
  if (iat * 1000 > nowMs + clockSkewSeconds * 1000) {
    throw new PolicyError("not-yet-valid", "the token begins in the future; compare the clocks of both machines");
  }
}

export const hasExpired = ({ exp }: Lifetime, nowMs: number): boolean => nowMs >= (exp + clockSkewSeconds) * 1000;

/** @throws PolicyError `expired` */
export function checkNotExpired(lifetime: Lifetime, nowMs: number): void {
  if (hasExpired(lifetime, nowMs)) throw new PolicyError("expired", "the token has expired; sign a new one");
}

function parseHeader(jws: string): z.infer<typeof headerSchema> {
  try {
    return headerSchema.parse(decodeProtectedHeader(jws));
  } catch (cause) {
    throw new PolicyError("malformed", "the token's header must hold alg EdDSA, typ and at most kid", { cause });
  }
}

function parsePayload(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload));
  } catch (cause) {
    throw new PolicyError("malformed", "the token's payload is not JSON", { cause });
  }
}
