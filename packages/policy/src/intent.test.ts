import { readFileSync } from "node:fs";
import { parseTenantId, parseWorkspaceId } from "@exai/base";
import { describe, expect, test } from "vitest";
import { PolicyError } from "./errors.ts";
import { readIntent, verifyIntent } from "./intent.ts";
import { applyIntents, emptyLedger, type IntentLedger, intentLedger } from "./ledger.ts";
import { vectors } from "./testing/vectors.ts";

const file: unknown = JSON.parse(readFileSync(new URL("../../../spec/vectors/intents.json", import.meta.url), "utf8"));
const anchor = { ...vectors.anchor, tenant: parseTenantId(vectors.anchor.tenant) };

test("the vectors in spec are the ones made here; node packages/policy/src/testing/write-vectors.ts renews them", () => {
  expect(file).toEqual(JSON.parse(JSON.stringify(vectors)));
});

describe("intents", () => {
  test.each(vectors.intents)("$name: $expect", async ({ jws, expect: expected }) => {
    const outcome = await verifyIntent(jws, anchor, vectors.nowMs).then(
      () => "ok",
      (error: unknown) => (error instanceof PolicyError ? error.code : error),
    );
    expect(outcome).toBe(expected);
  });

  test("of a member named twice the last is what was verified", async () => {
    const twice = vectors.intents.find((each) => each.name.startsWith("a member named twice"));
    expect(await verifyIntent(twice?.jws ?? "", anchor, vectors.nowMs)).toMatchObject({ act: "create" });
  });
});

const shown = (ledger: IntentLedger): string =>
  ledger.state === "live" ? ledger.desired : ledger.state === "destroyed" ? `destroyed by ${ledger.by}` : "empty";

describe("ledger", () => {
  test.each(vectors.sequences)("$name", async ({ steps }) => {
    let ledger = emptyLedger(parseWorkspaceId(vectors.workspace), anchor.tenant);
    for (const { atMs, intents, expect: expected, refused } of steps) {
      const claims = await Promise.all(intents.map((jws) => readIntent(jws, anchor, atMs)));
      const applied = applyIntents(ledger, claims, atMs);
      // A host keeps it as JSON between any two polls.
      ledger = intentLedger.parse(JSON.parse(JSON.stringify(applied.ledger)));
      expect(shown(ledger)).toBe(expected);
      expect(applied.refused.map((each) => each.code)).toEqual(refused);
    }
  });
});
