import { errorCode } from "@exai/base";
import { type ExecOptions, shellCode } from "@exai/sdk";
import type { Command } from "commander";
import { CliError, sentence } from "../errors.ts";
import { createIo, type Io } from "../io.ts";
import { openClient } from "../open.ts";
import { Interrupts } from "../session/interrupts.ts";
import { LocalOutput } from "../session/output.ts";
import { runSession } from "../session/session.ts";
import { isTerminal, terminalSize } from "../session/terminal.ts";
import * as parse from "../text/parse.ts";
import { type CommandContext, collect, envOption, type Register } from "./common.ts";

interface Options {
  env: [string, string][];
  envFile: [string, string][][];
  cwd?: string;
  user?: string;
  timeout?: number;
  interactive: boolean;
  tty: boolean;
  detach: boolean;
  json: boolean;
}

export const register: Register = (program, context) => {
  common(program.command("exec"))
    .description("run a command in a workspace")
    .argument("<workspace>", "name, id or its beginning")
    .argument("<command...>", "the command and its arguments, after --")
    .option("-i, --interactive", "hand on standard input", false)
    .option("-t, --tty", "give the command a terminal", false)
    .option("-d, --detach", "start it and return; see it with ps and attach", false)
    // With `--` options may stand on either side of the workspace; without, all after it is the command's.
    .passThroughOptions(!context.argv.includes("--"))
    .addHelpText(
      "after",
      "\nExamples:\n  exai exec build -- make -j2\n  exai exec -it build -- top\n  tar c . | exai exec -i build -- tar x\n  exai exec -d build -- ./server\n\nCtrl-P Ctrl-Q leaves a terminal's program running. A second Ctrl-C leaves any other.",
    )
    .action(async (reference: string, argv: string[], options: Options) => {
      context.exit(await execute(context, reference, argv, options));
    });
  common(program.command("shell"))
    .description("open a shell in a workspace")
    .argument("<workspace>", "name, id or its beginning")
    .addHelpText(
      "after",
      "\nExamples:\n  exai shell build\n  exai shell build --user root\n\nCtrl-P Ctrl-Q leaves it running.",
    )
    .action(async (reference: string, options: Options) => {
      const tty = isTerminal();
      const argv = ["sh", "-c", 'exec "$(command -v bash || echo sh)" -l'];
      context.exit(await execute(context, reference, argv, { ...options, interactive: true, tty, detach: false }));
    });
};

const common = (command: Command): Command =>
  command
    .option("--env <NAME[=VALUE]>", "environment variable; may be repeated", envOption, [])
    .option("--env-file <file>", "file of NAME=VALUE lines; may be repeated", collect(parse.parseEnvFile), [])
    .option("--cwd <folder>", "working folder; relative to the user's home")
    .option("--user <user>", "user in the guest")
    .option("--timeout <time>", "TERM after this time, then KILL", parse.parseTimeout)
    .option("--json", "print a summary as the last line", false);

async function execute(context: CommandContext, reference: string, argv: string[], options: Options): Promise<number> {
  const io = createIo(options.json);
  using interrupts = new Interrupts();
  await using client = await openClient(context.globals());
  client.preload();
  const workspace = await client.workspaces.get(reference);
  const terminal = options.tty && process.stdin.isTTY === true;
  const output = new LocalOutput({ terminal });
  try {
    await using execution = await workspace.exec(argv, {
      ...execOptions({ ...options, env: [...options.envFile.flat(), ...options.env] }),
      onOutput: options.detach ? () => undefined : output.write,
      signal: interrupts.signal,
    });
    if (options.detach) {
      if (io.json) io.printJson({ workspace: workspace.id, process: Number(execution.id) });
      else io.print(String(execution.id));
      return 0;
    }
    const status = await runSession(execution, { output, interrupts, stdin: options.interactive, terminal });
    const code = status === undefined ? (interrupts.exitCode ?? 0) : shellCode(status);
    if (status === undefined)
      io.note(`left running as ${execution.id}; see it again with 'exai attach ${reference} ${execution.id}'`);
    else if (status.timedOut) io.note("the command was ended after its time limit");
    else if (code !== 0 && output.looksLikeNoNetwork) io.note("the workspace has no network: no policy allows it");
    warnOfLoss(io, execution.lostBytes);
    if (io.json)
      io.printJson({ workspace: workspace.id, process: Number(execution.id), exitCode: code, wallMs: status?.wallMs });
    return code;
  } catch (error) {
    if (interrupts.exitCode !== undefined) return interrupts.exitCode;
    throw notStarted(error);
  }
}

export function warnOfLoss(io: Io, lost: { stdout: bigint; stderr: bigint }): void {
  const bytes = lost.stdout + lost.stderr;
  if (bytes > 0n) io.note(`${bytes} bytes of output were no longer kept when this client read them`);
}

type Executed = Pick<Options, "cwd" | "user" | "timeout" | "interactive" | "tty"> & {
  readonly env: readonly (readonly [string, string])[];
};

export function execOptions(options: Executed): ExecOptions {
  return {
    env: Object.fromEntries(options.env),
    stdin: options.interactive,
    ...(options.cwd === undefined ? {} : { cwd: parse.guestPath(options.cwd, options.user) }),
    ...(options.user === undefined ? {} : { user: options.user }),
    ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
    ...(options.tty ? { terminal: { ...terminalSize(), term: process.env["TERM"] ?? "" } } : {}),
  };
}

/** As in a shell: 127 for what is not there, 126 for what can't be run. */
export function notStarted(error: unknown): unknown {
  const exitCode = errorCode(error) === "not-found" ? 127 : errorCode(error) === "denied" ? 126 : undefined;
  return exitCode === undefined ? error : new CliError("failed", sentence(error), { exitCode });
}
