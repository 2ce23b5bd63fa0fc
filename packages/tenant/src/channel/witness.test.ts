import type { AuditEvent, Spool } from "@exai/audit";
import { newTenantId, newWorkspaceId, systemClock } from "@exai/base";
import type { Principal } from "@exai/policy";
import { expect, test } from "vitest";
import type { MethodRule } from "./methods.ts";
import { CallWitness } from "./witness.ts";

function start(nowMs = () => 0) {
  const events: AuditEvent[] = [];
  const spool = {
    grant: async (event: AuditEvent) => void events.push(event),
    contain: (event: AuditEvent) => void events.push(event),
  } as unknown as Spool;
  return { events, witness: new CallWitness(spool, { ...systemClock, nowMs }) };
}
const principal: Principal = {
  tenant: newTenantId(),
  workspace: newWorkspaceId(),
  subject: "agent",
  scopes: ["process"],
  jti: "0123456789",
};
const input = { action: "process.input", witness: "once" } as unknown as MethodRule;

test("the first input to a program is witnessed, again when the guest has booted since", async () => {
  const { events, witness } = start();
  const [first, second] = [{}, {}];
  for (const guest of [first, first, second, second, first])
    await witness.call(input, principal, { target: "1" }, guest);
  expect(events).toHaveLength(2);
});

test("a stranger's refusals can go on for a year without filling a spool, and none of a tenant's is hidden by them", () => {
  let nowMs = 0;
  const { events, witness } = start(() => nowMs);
  for (let minute = 0; minute < 24 * 60; minute++) {
    for (let n = 0; n < 100; n++) witness.refuse("/x", "bad-signature", undefined);
    nowMs += 60_000;
  }
  expect(events.length).toBeLessThanOrEqual(1470);
  expect(events.at(-1)?.detail).toMatchObject({ why: "bad-signature", suppressed: 99 });
  witness.refuse("/x", "scope-missing", principal);
  expect(events.at(-1)).toMatchObject({ actor: "agent", detail: { why: "scope-missing", token: "0123456789" } });
});
