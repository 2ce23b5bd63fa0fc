import type { Exited } from "@exai/api/guest";
import type { GuestSession } from "@exai/machine";
import { HostError } from "./errors.ts";

export interface CommandOptions {
  env?: Readonly<Record<string, string>>;
  cwd?: string;
  stdin?: AsyncIterable<Uint8Array>;
  onStdout?: (data: Uint8Array) => void | Promise<void>;
  onStderr?: (data: Uint8Array) => void | Promise<void>;
  /** TERM, then KILL. */
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
}

/** `code` is the shell's: 128 + n after signal n. */
export interface CommandResult {
  code: number;
  timedOut: boolean;
}

const chunkBytes = 64 * 1024;
// lifetime.when_detached
const killWhenDetached = 2;

/**
 * Runs a program to its end, as root. Output comes as it is written; who does not take it stops the writer.
 * Giving up by `signal` kills the program with all its descendants.
 * @throws HostError `command`
 */
export async function runCommand(
  session: GuestSession,
  argv: readonly [string, ...string[]],
  options: CommandOptions,
): Promise<CommandResult> {
  const output = session.processes.run(
    {
      argv: argv.map((word) => Buffer.from(word)),
      env: Object.entries(options.env ?? {}).map(([name, value]) => ({
        name: Buffer.from(name),
        value: Buffer.from(value),
      })),
      cwd: Buffer.from(options.cwd ?? "/"),
      user: "root",
      stdin: options.stdin !== undefined,
      lifetime: { timeoutMs: BigInt(options.timeoutMs ?? 0), graceMs: 1000, whenDetached: killWhenDetached },
    },
    options.signal === undefined ? {} : { signal: options.signal },
  );
  let input: Promise<void> | undefined;
  for await (const { event } of output) {
    if (event.case === "started" && options.stdin !== undefined)
      input = sendAll(session, event.value.process, options.stdin);
    if (event.case === "stdout") await options.onStdout?.(event.value.data);
    if (event.case === "stderr") await options.onStderr?.(event.value.data);
    if (event.case === "exited") {
      await input;
      return resultOf(event.value);
    }
  }
  throw new HostError("command", `'${argv[0]}' was cut off`);
}

function resultOf({ code, signal, timedOut }: Exited): CommandResult {
  return { code: code ?? 128 + (signal ?? 0), timedOut };
}

async function sendAll(session: GuestSession, process: bigint, source: AsyncIterable<Uint8Array>): Promise<void> {
  let offset = 0n;
  try {
    for await (const piece of source) {
      for (let at = 0; at < piece.length; at += chunkBytes) {
        const data = piece.subarray(at, at + chunkBytes);
        ({ offset } = await session.processes.sendInput({ process, offset, data }));
      }
    }
    await session.processes.closeStdin({ process });
  } catch {
    // It has closed its stdin, or ended; how, its exit code says.
  }
}
