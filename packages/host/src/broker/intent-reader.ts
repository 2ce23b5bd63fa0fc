import type { IntentClaims } from "@exai/api";
import type { TenantAnchor } from "@exai/api/host";
import type { Clock } from "@exai/base";
import { readIntent } from "@exai/policy";

const remembered = 20_000;

/** Verifies signatures once: each poll lists every intent again. What failed is not remembered. */
export class IntentReader {
  readonly #clock: Clock;
  readonly #known = new Map<string, IntentClaims>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws PolicyError */
  async read(jws: string, anchor: TenantAnchor): Promise<IntentClaims> {
    // The key is part of what was verified: the same text under another tenant is another question.
    const key = `${anchor.signingKey} ${jws}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const claims = await readIntent(jws, anchor, this.#clock.nowMs());
    if (this.#known.size >= remembered) this.#known.clear();
    this.#known.set(key, claims);
    return claims;
  }
}
