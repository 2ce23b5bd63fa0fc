import type { Clock } from "@exai/base";

const mostTokens = 1024;

interface Known<Principal> {
  readonly principal: Principal;
  /** Seconds since the epoch. */
  readonly exp: number;
}

/**
 * Checks a token's signature once, not for each call: clients use one for minutes. Only the very same text is known
 * again, and only until its own expiry.
 */
export function cacheTokens<Principal>(
  authenticate: (token: string) => Promise<Principal>,
  clock: Clock,
): (token: string) => Promise<Principal> {
  const known = new Map<string, Known<Principal>>();
  return async (token) => {
    const found = known.get(token);
    if (found !== undefined && clock.nowMs() < found.exp * 1000) return found.principal;
    known.delete(token);
    const principal = await authenticate(token);
    const [oldest] = known.keys();
    if (known.size >= mostTokens && oldest !== undefined) known.delete(oldest);
    known.set(token, { principal, exp: expiryOf(token) });
    return principal;
  };
}

/** Of a token that was verified; 0, so never known again, when it names none. */
function expiryOf(token: string): number {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
    const exp = typeof claims === "object" && claims !== null && "exp" in claims ? claims.exp : 0;
    return typeof exp === "number" ? exp : 0;
  } catch {
    return 0;
  }
}
