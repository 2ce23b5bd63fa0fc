import { STATUS_CODES } from "node:http";
import type { Problem } from "@exai/api";
import { type ProblemCode, problemStatus } from "../errors.ts";

/** RFC 9457. */
export function problemResponse(code: ProblemCode, detail: string, headers: Record<string, string> = {}): Response {
  const status = problemStatus[code];
  const body: Problem = { type: `urn:exai:problem:${code}`, title: STATUS_CODES[status] ?? "", status, detail, code };
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      ...(status === 401 ? { "www-authenticate": "Bearer" } : {}),
      ...headers,
    },
  });
}
