/**
 * Parent of the one error class that each package has. `code` is a closed union of the package; `message` is one
 * sentence that says what is wrong and, where there is one, what to do; it never repeats its cause.
 */
export abstract class CodedError<Code extends string> extends Error {
  readonly code: Code;
  constructor(code: Code, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

export type BaseErrorCode = "invalid-id" | "invalid-size" | "invalid-duration" | "not-canonical";

export class BaseError extends CodedError<BaseErrorCode> {}

/** A broken assumption of ours: a bug, never an operating error; nobody catches it. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** For the default branch of an exhaustive switch. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable: ${String(value)}`);
}

const longestChain = 8;

/** The one place where a chain of causes becomes text: `message: cause: cause`, on one line. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  let at: unknown = error;
  for (let depth = 0; at !== undefined && at !== null && depth < longestChain; depth++) {
    const text = at instanceof Error ? at.message : String(at);
    if (text !== "" && parts.at(-1) !== text) parts.push(text);
    at = at instanceof Error ? at.cause : undefined;
  }
  // Control characters could forge lines in a log or move a terminal's cursor.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: removing them is the point
  return parts.join(": ").replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
}

/** The `code` of our own or of a Node system error, else undefined. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
