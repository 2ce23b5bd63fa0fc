import { newWorkspaceId } from "@exai/base";
import { expect, test } from "vitest";
import { Refusals } from "./refusals.ts";

test("each is said once, another reason once more", () => {
  const refusals = new Refusals();
  const id = newWorkspaceId();
  expect(refusals.take(id, "a", 0)).toBe(true);
  expect(refusals.take(id, "a", 1)).toBe(false);
  expect(refusals.take(id, "b", 2)).toBe(true);
});

test("60 a minute, and what was passed over is said later", () => {
  const refusals = new Refusals();
  const ids = Array.from({ length: 100 }, () => newWorkspaceId());
  const said = (nowMs: number) => ids.filter((id) => refusals.take(id, "a", nowMs)).length;
  expect([said(0), said(59_999), said(60_000), said(120_000)]).toEqual([60, 0, 40, 0]);
});
