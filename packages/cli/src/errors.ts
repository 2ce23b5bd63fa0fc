import { CodedError, describeError, errorCode } from "@exai/base";

/** `usage`: the command line is wrong. `failed`: anything else that is ours; `exitCode` says more. */
export type CliErrorCode = "usage" | "failed";

export class CliError extends CodedError<CliErrorCode> {
  readonly exitCode: number | undefined;
  constructor(code: CliErrorCode, message: string, options?: { cause?: unknown; exitCode?: number }) {
    super(code, message, options);
    this.exitCode = options?.exitCode;
  }
}

export const usage = (message: string): CliError => new CliError("usage", message);

/**
 * What a person is told: the error's own sentence. Its causes follow for a bug of ours, where they are all there is to go
 * on, and when `EXAI_DEBUG` is set.
 */
export function sentence(error: unknown): string {
  if (process.env["EXAI_DEBUG"] && error instanceof Error) return `${describeError(error)}\n${error.stack ?? ""}`;
  // By its code and not by its class: what is loaded beside a bundle has a class of its own.
  const code = errorCode(error);
  return error instanceof Error && code !== undefined && code !== "internal" ? error.message : describeError(error);
}
