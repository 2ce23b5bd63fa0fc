import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Lifetime_WhenDetached, type StartRequest, StartRequestSchema } from "@exai/api/guest";
import { SdkError } from "../errors.ts";

/** How a program is started in a workspace. Strings become UTF-8; give bytes for what is not text. */
export interface ExecOptions {
  /** Added to the guest's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Absolute; default the user's home. */
  readonly cwd?: string;
  /** Name or numeric id; default the image's user. */
  readonly user?: string;
  /** Keep standard input open for `write`; otherwise it is /dev/null. */
  readonly stdin?: boolean;
  /** A real PTY of this size. */
  readonly terminal?: { readonly rows: number; readonly columns: number; readonly term?: string };
  /** TERM after this long, KILL after `graceMs` (default 5000). The guest keeps this time, not the client. */
  readonly timeoutMs?: number;
  readonly graceMs?: number;
  /** While nobody is attached and the replay buffer is full: drop the oldest bytes (default), block, or end it. */
  readonly whenDetached?: "drop" | "block" | "kill";
  /** Bytes of each stream kept for who attaches later; default 256 KiB, at most 4 MiB. */
  readonly replayBytes?: number;
  /** Shown by `processes()`; at most 256 bytes. */
  readonly tag?: string;
}

const whenDetached = {
  drop: Lifetime_WhenDetached.UNSPECIFIED,
  block: Lifetime_WhenDetached.BLOCK,
  kill: Lifetime_WhenDetached.KILL,
} as const;

const encoder = new TextEncoder();

/** @throws SdkError `invalid` for what the contract does not allow, before anything is sent */
export function startRequest(argv: readonly (string | Uint8Array)[], options: ExecOptions): StartRequest {
  if (argv.length === 0) throw new SdkError("invalid", "a command is missing");
  if (argv.length > 4096) throw new SdkError("invalid", "a command has at most 4096 arguments");
  const request: MessageInitShape<typeof StartRequestSchema> = {
    argv: argv.map((argument) => withoutNul(argument, "an argument")),
    env: Object.entries(options.env ?? {}).map(([name, value]) => ({
      name: variableName(name),
      value: withoutNul(value, "an environment variable"),
    })),
    cwd: withoutNul(options.cwd ?? "", "the working folder"),
    user: options.user ?? "",
    stdin: options.stdin ?? false,
    lifetime: {
      timeoutMs: BigInt(Math.round(options.timeoutMs ?? 0)),
      graceMs: options.graceMs ?? 0,
      whenDetached: whenDetached[options.whenDetached ?? "drop"],
    },
    replayBytes: options.replayBytes ?? 0,
    tag: options.tag ?? "",
  };
  if (options.cwd !== undefined && !options.cwd.startsWith("/")) {
    throw new SdkError("invalid", `the working folder '${options.cwd}' must be absolute`);
  }
  if (options.terminal !== undefined) {
    const { rows, columns, term = "" } = options.terminal;
    request.terminal = { rows, columns, term };
  }
  return create(StartRequestSchema, request);
}

function withoutNul(value: string | Uint8Array, what: string): Uint8Array {
  const bytes = typeof value === "string" ? encoder.encode(value) : value;
  if (bytes.includes(0)) throw new SdkError("invalid", `${what} must not hold a NUL byte`);
  return bytes;
}

function variableName(name: string): Uint8Array {
  if (name === "" || name.includes("=")) throw new SdkError("invalid", `'${name}' is not the name of a variable`);
  return withoutNul(name, "the name of a variable");
}
