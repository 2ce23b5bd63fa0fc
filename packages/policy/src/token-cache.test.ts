import type { Clock } from "@exai/base";
import { newTenantId } from "@exai/base";
import { expect, test } from "vitest";
import { cacheTokens } from "./token-cache.ts";

test("a token is checked once, until it expires; a refusal is never remembered", async () => {
  let nowMs = 1_000_000;
  let checks = 0;
  const clock = { nowMs: () => nowMs } as Clock;
  const principal = { tenant: newTenantId(), subject: "a", workspace: undefined, scopes: [], jti: "j" };
  const authenticate = cacheTokens(async (token) => {
    checks++;
    if (token.endsWith("bad")) throw new Error("refused");
    return principal;
  }, clock);
  const token = (exp: unknown, end = "good") =>
    `h.${Buffer.from(JSON.stringify({ exp })).toString("base64url")}.${end}`;
  for (let at = 0; at < 3; at++) expect(await authenticate(token(1010))).toBe(principal);
  expect(checks).toBe(1);
  nowMs = 1_010_000;
  await authenticate(token(1010));
  expect(checks).toBe(2);
  for (let at = 0; at < 2; at++) await expect(authenticate(token(2000, "bad"))).rejects.toThrow("refused");
  expect(checks).toBe(4);
  for (let at = 0; at < 2; at++) await authenticate(token("never"));
  expect(checks).toBe(6);
});

test("it holds a bounded number of tokens", async () => {
  let checks = 0;
  const clock = { nowMs: () => 0 } as Clock;
  const principal = { tenant: newTenantId(), subject: "a", workspace: undefined, scopes: [], jti: "j" };
  const authenticate = cacheTokens(async () => {
    checks++;
    return principal;
  }, clock);
  const token = (at: number) => `${at}.${Buffer.from('{"exp":9}').toString("base64url")}.s`;
  for (let at = 0; at < 3000; at++) await authenticate(token(at));
  await authenticate(token(0));
  await authenticate(token(2999));
  expect(checks).toBe(3001);
});
