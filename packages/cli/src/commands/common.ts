import type { Command } from "commander";
import type { Globals } from "../context.ts";
import { parseEnv } from "../text/parse.ts";

export interface CommandContext {
  readonly argv: readonly string[];
  globals(): Globals;
  /** The exit code, when it is not 0. */
  exit(code: number): void;
}

/** Adds one command to the program. */
export type Register = (program: Command, context: CommandContext) => void;

/** For an option that may be repeated. */
export const collect =
  <T>(parse: (text: string) => T) =>
  (text: string, all: T[]): T[] => [...all, parse(text)];

export const envOption = collect((text: string) => parseEnv(text));
