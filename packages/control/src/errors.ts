import { CodedError } from "@exai/base";

/** Stable codes of the API's problems and their HTTP status. A code is never given a second meaning. */
export const problemStatus = {
  "malformed-request": 400,
  unauthenticated: 401,
  forbidden: 403,
  "not-found": 404,
  "method-not-allowed": 405,
  "workspace-exists": 409,
  "name-taken": 409,
  "older-serial": 409,
  "workspace-destroyed": 409,
  "body-too-large": 413,
  "not-json": 415,
  "intent-refused": 422,
  "idempotency-key-reused": 422,
  "too-many-workspaces": 429,
  "too-many-waiting": 429,
  internal: 500,
  stopping: 503,
} as const;

export type ProblemCode = keyof typeof problemStatus;

/** What keeps the process from starting or going on. */
export type ControlErrorCode = "database-newer" | "database" | "listen";

export class ControlError extends CodedError<ProblemCode | ControlErrorCode> {}

export const isProblem = (error: unknown): error is ControlError & { code: ProblemCode } =>
  error instanceof ControlError && Object.hasOwn(problemStatus, error.code);
