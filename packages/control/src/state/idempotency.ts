import type { Workspace } from "@exai/api";
import { ControlError } from "../errors.ts";
import type { Tx } from "./record.ts";

/** A request that may come twice (draft-ietf-httpapi-idempotency-key-header). */
export interface Call {
  /** Issuer of the token; keys of different callers do not meet. */
  readonly principal: string;
  /** Value of `Idempotency-Key`. */
  readonly key: string | undefined;
  /** SHA-256 over method, path and body. */
  readonly digest: string;
  readonly nowMs: number;
}

export interface Answer {
  readonly status: 200 | 201;
  /** JSON of a `Workspace`. */
  readonly body: string;
  /** Topics whose waiters are to be woken once this is committed. */
  readonly wake: readonly string[];
}

export const topicOf = { host: (id: string) => `host:${id}`, workspace: (id: string) => `workspace:${id}` };

/** A change of a workspace, or none (`host` is then left out) because it was made before. */
export const answer = (status: 200 | 201, body: Workspace, host?: string): Answer => ({
  status,
  body: JSON.stringify(body),
  wake: host === undefined ? [] : [topicOf.host(host), topicOf.workspace(body.id)],
});

const keptMs = 24 * 3_600_000;
const mostKeys = 10_000;

/**
 * Runs `change` once per key, in the same transaction in which the key is kept. Only what succeeded is kept: a refused
 * request changed nothing and is judged anew. Beyond 10,000 keys of one caller the oldest are forgotten; intents are
 * harmless to repeat anyhow, by their `jti`.
 * @throws ControlError `idempotency-key-reused`
 */
export async function once(tx: Tx, call: Call, change: () => Promise<Answer>): Promise<Answer> {
  const { principal, key, digest, nowMs } = call;
  if (key === undefined) return change();
  const known = await tx
    .selectFrom("idempotency")
    .selectAll()
    .where("principal", "=", principal)
    .where("key", "=", key)
    .where("created_at", ">", nowMs - keptMs)
    .executeTakeFirst();
  if (known !== undefined) {
    if (known.digest === digest) {
      return { status: known.status === 201 ? 201 : 200, body: known.body, wake: [] };
    }
    throw new ControlError("idempotency-key-reused", "this Idempotency-Key came with another request; use a new one");
  }
  const done = await change();
  const row = { principal, key, digest, status: done.status, body: done.body, created_at: nowMs };
  await tx
    .insertInto("idempotency")
    .values(row)
    .onConflict((conflict) => conflict.columns(["principal", "key"]).doUpdateSet(row))
    .execute();
  return done;
}

/** Forgets keys that are too old or too many. */
export async function pruneKeys(tx: Tx, nowMs: number): Promise<void> {
  await tx
    .deleteFrom("idempotency")
    .where("created_at", "<=", nowMs - keptMs)
    .execute();
  const crowded = await tx
    .selectFrom("idempotency")
    .select("principal")
    .groupBy("principal")
    .having((eb) => eb(eb.fn.countAll<number>(), ">", mostKeys))
    .execute();
  for (const { principal } of crowded) {
    const oldestKept = await tx
      .selectFrom("idempotency")
      .select("created_at")
      .where("principal", "=", principal)
      .orderBy("created_at", "desc")
      .offset(mostKeys)
      .limit(1)
      .executeTakeFirst();
    if (oldestKept === undefined) continue;
    await tx
      .deleteFrom("idempotency")
      .where("principal", "=", principal)
      .where("created_at", "<=", oldestKept.created_at)
      .execute();
  }
}
