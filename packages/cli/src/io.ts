import { clean, cleanJson } from "./text/clean.ts";

/** Where a command's words go. Data is on standard output and nothing else is. */
export interface Io {
  readonly json: boolean;
  /** A person sees standard error: progress is shown. */
  readonly interactive: boolean;
  print(line: string): void;
  printJson(value: unknown): void;
  /** A note for a person; control characters are escaped. */
  note(line: string): void;
}

export const createIo = (json: boolean): Io => ({
  json,
  interactive: process.stderr.isTTY === true && !json,
  print: (line) => void process.stdout.write(`${line}\n`),
  printJson: (value) => void process.stdout.write(`${cleanJson(value)}\n`),
  note: (line) => void process.stderr.write(`exai: ${clean(line)}\n`),
});
