import { CodedError } from "@exai/base";

/** `input`: an argument or a file of ours is wrong. `run`: a program failed. `drift`: Debian moved on from the lock. */
export type BuildErrorCode = "input" | "run" | "drift" | "missing";

export class BuildError extends CodedError<BuildErrorCode> {}
