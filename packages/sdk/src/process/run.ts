import { SdkError } from "../errors.ts";
import type { AttachOptions, Execution } from "./execution.ts";
import type { ExecOptions } from "./options.ts";
import type { ExitStatus } from "./status.ts";

export interface RunOptions extends Omit<ExecOptions, "stdin"> {
  /** Written to standard input, which is then closed. */
  readonly input?: Uint8Array | string;
  /** Bytes kept of each stream; more is dropped and `truncated` is set. Default 16 MiB. */
  readonly maxOutputBytes?: number;
  readonly signal?: AbortSignal;
}

export interface RunResult extends ExitStatus {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly truncated: boolean;
}

type Start = (options: ExecOptions & AttachOptions) => Promise<Execution>;

export async function collect(start: Start, options: RunOptions): Promise<RunResult> {
  const most = options.maxOutputBytes ?? 16 << 20;
  const kept = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  const bytes = { stdout: 0, stderr: 0 };
  let truncated = false;
  await using execution = await start({
    stdin: options.input !== undefined,
    onOutput: (stream, data) => {
      const part = data.subarray(0, Math.max(0, most - bytes[stream]));
      bytes[stream] += part.length;
      if (part.length > 0) kept[stream].push(part);
      if (part.length < data.length) truncated = true;
    },
  });
  if (options.input !== undefined) await feed(execution, options.input);
  const status = await execution.wait();
  const lost = execution.lostBytes.stdout + execution.lostBytes.stderr > 0n;
  return {
    ...status,
    stdout: Buffer.concat(kept.stdout),
    stderr: Buffer.concat(kept.stderr),
    truncated: truncated || lost,
  };
}

/** A program may end before it has read everything: that is its right, and no error of ours. */
async function feed(execution: Execution, input: Uint8Array | string): Promise<void> {
  try {
    await execution.write(input);
    await execution.closeStdin();
  } catch (error) {
    if (!(error instanceof SdkError) || !["precondition", "not-found"].includes(error.code)) throw error;
  }
}
