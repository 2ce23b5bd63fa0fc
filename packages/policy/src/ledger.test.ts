import type { IntentClaims } from "@exai/api";
import { newTenantId, newWorkspaceId } from "@exai/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { applyIntents, emptyLedger, type IntentLedger, intentLedger, isForgettable, ttlDueMs } from "./ledger.ts";
import { testSpec } from "./testing/signer.ts";

const workspace = newWorkspaceId();
const tenant = newTenantId();
const startSeconds = 1_900_000_000;

/** Whatever the tenant signed over time: several creations even, with specs that differ. */
const signed = fc
  .record({
    act: fc.constantFrom("create", "create", "start", "stop", "destroy"),
    serial: fc.integer({ min: 0, max: 12 }),
    iat: fc.integer({ min: 0, max: 4000 }),
    life: fc.integer({ min: 1, max: 3600 }),
    cpus: fc.integer({ min: 1, max: 8 }),
    ttlSeconds: fc.constantFrom(0, 0, 600, 5000),
  })
  .map(({ act, serial, iat, life, cpus, ttlSeconds }, index?: number) => {
    const base = {
      iss: tenant,
      aud: "exai-host" as const,
      sub: workspace,
      iat: startSeconds + iat,
      exp: startSeconds + iat + life,
      jti: `${act}-${serial}-${iat}-${life}-${cpus}-${index ?? 0}`,
      serial,
      actor: "alice",
    };
    return (
      act === "create" ? { ...base, act, spec: { ...testSpec, cpus, ttlSeconds } } : { ...base, act }
    ) as IntentClaims;
  });

/** What a hostile control plane hands over: any of them, any number of times, in any order, at any time. */
const attack = fc.array(signed, { minLength: 1, maxLength: 12 }).chain((pool) =>
  fc.record({
    pool: fc.constant(pool),
    polls: fc.array(
      fc.record({
        picks: fc.array(fc.nat({ max: pool.length - 1 }), { maxLength: 8 }),
        pauseSeconds: fc.integer({ min: 0, max: 2000 }),
        restart: fc.boolean(),
      }),
      { maxLength: 12 },
    ),
  }),
);

interface Step {
  before: IntentLedger;
  after: IntentLedger;
  taken: readonly IntentClaims[];
  offered: readonly IntentClaims[];
  nowMs: number;
}

/** Runs the attack and hands each step to `check`, with everything taken so far. */
function play(
  { pool, polls }: typeof attack extends fc.Arbitrary<infer T> ? T : never,
  check: (s: Step, all: IntentClaims[]) => void,
) {
  let ledger = emptyLedger(workspace, tenant);
  let nowMs = startSeconds * 1000;
  const all: IntentClaims[] = [];
  for (const { picks, pauseSeconds, restart } of polls) {
    nowMs += pauseSeconds * 1000;
    const offered = picks.flatMap((index) => pool[index] ?? []);
    const applied = applyIntents(ledger, offered, nowMs);
    all.push(...applied.taken);
    check({ before: ledger, after: applied.ledger, taken: applied.taken, offered, nowMs }, all);
    ledger = restart ? intentLedger.parse(JSON.parse(JSON.stringify(applied.ledger))) : applied.ledger;
  }
}

const always = (check: (step: Step, all: IntentClaims[]) => void) =>
  fc.assert(
    fc.property(attack, (input) => play(input, check)),
    { numRuns: 2000 },
  );

describe("whatever a control plane hands over", () => {
  test("nothing is destroyed without a destroy that was taken or a TTL that is due", () => {
    always(({ after, nowMs }, all) => {
      if (after.state !== "destroyed") return;
      if (after.by === "intent") expect(all.at(-1)?.act).toBe("destroy");
      else {
        expect(after.spec.ttlSeconds).toBeGreaterThan(0);
        expect(nowMs).toBeGreaterThanOrEqual((after.createdAt + after.spec.ttlSeconds) * 1000);
      }
    });
  });

  test("what runs or is stopped is what the last taken intent says", () => {
    always(({ after }, all) => {
      if (after.state !== "live") return;
      expect(after.desired).toBe(all.at(-1)?.act === "stop" ? "stopped" : "running");
      expect(after.lastSerial).toBe(all.at(-1)?.serial);
    });
  });

  test("the spec is that of the first creation, for ever", () => {
    always(({ before, after }, all) => {
      const creations = all.filter((each) => each.act === "create");
      expect(creations.length).toBeLessThanOrEqual(1);
      if (after.state !== "empty") expect(after.spec).toEqual(creations[0]?.spec);
      if (before.state !== "empty") expect(after).toMatchObject({ spec: before.spec });
    });
  });

  test("serials of what is taken only rise, and nothing is taken twice or after its end", () => {
    always(({ taken, nowMs }, all) => {
      for (let at = 1; at < all.length; at++) {
        expect(all[at]?.serial).toBeGreaterThan(all[at - 1]?.serial ?? 0);
      }
      expect(new Set(all.map((each) => each.jti)).size).toBe(all.length);
      for (const each of taken) expect(nowMs).toBeLessThan((each.exp + 30) * 1000);
    });
  });

  test("destroyed is final", () => {
    always(({ before, after, taken }) => {
      if (before.state !== "destroyed") return;
      expect(after).toEqual(before);
      expect(taken).toEqual([]);
    });
  });

  test("a repetition of the same list changes nothing and refuses nothing that was taken", () => {
    always(({ after, taken, offered, nowMs }) => {
      const again = applyIntents(after, offered, nowMs);
      expect(again.ledger).toEqual(after);
      const known = new Set(taken.map((each) => each.jti));
      expect(again.refused.filter(({ intent }) => known.has(intent.jti))).toEqual([]);
    });
  });

  test("the order within one list does not matter", () => {
    always(({ before, after, offered, nowMs }) => {
      const serials = offered.map((each) => each.serial);
      if (new Set(serials).size !== serials.length) return;
      expect(applyIntents(before, offered.toReversed(), nowMs).ledger).toEqual(after);
    });
  });
});

test("a tombstone stays while its creation could be replayed", () => {
  const base = { iss: tenant, aud: "exai-host" as const, sub: workspace, iat: startSeconds, actor: "alice" };
  const create = {
    ...base,
    exp: startSeconds + 600,
    jti: "create-1",
    serial: 1,
    act: "create" as const,
    spec: testSpec,
  };
  const destroy = { ...base, exp: startSeconds + 600, jti: "destroy-1", serial: 2, act: "destroy" as const };
  const { ledger } = applyIntents(emptyLedger(workspace, tenant), [create, destroy], startSeconds * 1000);
  expect(ttlDueMs(ledger)).toBeUndefined();
  expect(isForgettable(ledger, (startSeconds + 630) * 1000)).toBe(false);
  expect(isForgettable(ledger, (startSeconds + 630 + 86_400) * 1000)).toBe(true);
  // Forgotten or not, the creation is refused by then.
  const replay = applyIntents(emptyLedger(workspace, tenant), [create], (startSeconds + 630) * 1000);
  expect(replay.refused.map((each) => each.code)).toEqual(["expired"]);
});

test("as many intents as a tenant likes: the ledger stays small and still knows the creation", () => {
  const base = { iss: tenant, aud: "exai-host" as const, sub: workspace, iat: startSeconds, exp: startSeconds + 600 };
  const create = { ...base, actor: "a", jti: "create-1", serial: 1, act: "create" as const, spec: testSpec };
  let { ledger } = applyIntents(emptyLedger(workspace, tenant), [create], startSeconds * 1000);
  for (let serial = 2; serial < 300; serial++) {
    const next = {
      ...base,
      actor: "a",
      jti: `toggle-${serial}`,
      serial,
      act: serial % 2 ? ("start" as const) : ("stop" as const),
    };
    ledger = applyIntents(ledger, [create, next], startSeconds * 1000).ledger;
  }
  expect(intentLedger.parse(ledger)).toMatchObject({ lastSerial: 299, desired: "running" });
  expect(applyIntents(ledger, [create], startSeconds * 1000).refused).toEqual([]);
});
