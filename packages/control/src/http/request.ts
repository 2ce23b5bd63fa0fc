import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { z } from "zod";
import { ControlError } from "../errors.ts";

/** @throws ControlError `malformed-request`, naming the first member that is wrong */
export function parseInput<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const at = [what, ...(issue?.path ?? [])].join(".");
  throw new ControlError("malformed-request", `${at}: ${issue?.message ?? "is not what the contract asks for"}`);
}

/** The query as an object; a key that is repeated or named in `lists` becomes an array. */
export function queryOf(all: Record<string, string[]>, lists: readonly string[]): Record<string, string | string[]> {
  const query: Record<string, string | string[]> = {};
  for (const [key, values] of Object.entries(all)) {
    const [first = ""] = values;
    query[key] = values.length === 1 && !lists.includes(key) ? first : values;
  }
  return query;
}

/** Reads a body of at most `most` bytes. @throws ControlError `not-json`, `body-too-large`, `malformed-request` */
export async function readBody(incoming: IncomingMessage, most: number): Promise<Buffer> {
  const type = incoming.headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") throw new ControlError("not-json", "send the body as content-type application/json");
  const tooLarge = () => new ControlError("body-too-large", `the body may have ${most} bytes`);
  if (Number(incoming.headers["content-length"] ?? 0) > most) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > most) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** @throws ControlError `malformed-request` */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (cause) {
    throw new ControlError("malformed-request", "the body is not JSON", { cause });
  }
}

/** @throws ControlError `malformed-request` */
export function idempotencyKey(incoming: IncomingMessage): string | undefined {
  const value = incoming.headers["idempotency-key"];
  if (value === undefined) return undefined;
  if (typeof value === "string" && /^[\x21-\x7e]{1,128}$/.test(value)) return value;
  throw new ControlError("malformed-request", "an Idempotency-Key has 1 to 128 visible ASCII characters");
}

export const digestOf = (method: string, path: string, body: Buffer): string =>
  createHash("sha256").update(`${method} ${path}\n`).update(body).digest("hex");

/** Fires when the client is gone before its answer. */
export function goneSignal(outgoing: ServerResponse, stopping: AbortSignal): AbortSignal {
  const gone = new AbortController();
  const stop = () => gone.abort();
  stopping.addEventListener("abort", stop, { once: true });
  if (stopping.aborted) stop();
  outgoing.once("close", () => {
    stopping.removeEventListener("abort", stop);
    // After its answer nobody waits for the signal, whose error costs more than most of a request.
    if (!outgoing.writableFinished) gone.abort();
  });
  return gone.signal;
}
