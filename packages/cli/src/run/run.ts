import type { Observation } from "@exai/api";
import { type Client, type ExitStatus, SdkError, shellCode, type Workspace } from "@exai/sdk";
import { execOptions, notStarted, warnOfLoss } from "../commands/exec.ts";
import { CliError, sentence } from "../errors.ts";
import type { Io } from "../io.ts";
import { Interrupts } from "../session/interrupts.ts";
import { LocalOutput } from "../session/output.ts";
import { Progress } from "../session/progress.ts";
import { runSession } from "../session/session.ts";
import { guestPath } from "../text/parse.ts";
import { newWorkspace, type RunOptions, timeToLive } from "./plan.ts";

interface Outcome {
  exitCode: number;
  workspace: Workspace | undefined;
  execMs: number | undefined;
  error: unknown;
}

/** A workspace for one command: created, used and destroyed. @returns the exit code, as the guide's table has it */
export async function runCommand(client: Client, argv: string[], options: RunOptions, io: Io): Promise<number> {
  using interrupts = new Interrupts();
  using progress = new Progress(io.interactive);
  const outcome: Outcome = { exitCode: 125, workspace: undefined, execMs: undefined, error: undefined };
  progress.show("creating");
  try {
    const creating = client.workspaces.create(newWorkspace(client, { ...options, ttl: timeToLive(options) }), {
      signal: interrupts.signal,
    });
    client.preload(); // loads while the control plane and the host are at work
    outcome.workspace = await creating;
    outcome.exitCode = await work(outcome, outcome.workspace, { argv, options, io, interrupts, progress });
  } catch (error) {
    outcome.error = error;
    outcome.exitCode = exitCodeOf(error);
  }
  if (interrupts.exitCode !== undefined) outcome.exitCode = interrupts.exitCode;
  else if (outcome.error !== undefined) io.note(sentence(outcome.error));
  await end(outcome, options, io, progress);
  if (io.json) io.printJson(summary(outcome));
  return outcome.exitCode;
}

interface Work {
  readonly argv: string[];
  readonly options: RunOptions;
  readonly io: Io;
  readonly interrupts: Interrupts;
  readonly progress: Progress;
}

async function work(outcome: Outcome, workspace: Workspace, what: Work): Promise<number> {
  const { options, io, interrupts, progress } = what;
  const { signal } = interrupts;
  const user = options.user === undefined ? {} : { user: options.user };
  progress.show("booting");
  await workspace.ready({ timeoutMs: 120_000, signal });
  for (const { source, destination } of options.upload) {
    progress.show(`uploading ${source}`);
    const target = guestPath(destination ?? "./", options.user);
    await workspace.files.upload(source, destination === undefined ? `${target}/` : target, { ...user, signal });
  }
  progress.clear();
  const output = new LocalOutput({ terminal: inTerminal(options) });
  const startedAt = performance.now();
  const status = await execute(workspace, what, output);
  outcome.execMs = performance.now() - startedAt;
  if (status === undefined) return interrupts.exitCode ?? 125;
  const code = shellCode(status);
  if (status.timedOut) io.note(`the command was ended after its time limit of ${(options.timeout ?? 0) / 1000} s`);
  else if (code !== 0 && output.looksLikeNoNetwork) {
    io.note("the workspace has no network: no policy allows it");
  }
  return await download(workspace, what, code);
}

async function execute(workspace: Workspace, what: Work, output: LocalOutput): Promise<ExitStatus | undefined> {
  const { options, io, interrupts } = what;
  try {
    await using execution = await workspace.exec(what.argv, {
      ...execOptions(options),
      onOutput: output.write,
      signal: interrupts.signal,
    });
    const terminal = inTerminal(options);
    const status = await runSession(execution, { output, interrupts, stdin: options.interactive, terminal });
    warnOfLoss(io, execution.lostBytes);
    return status;
  } catch (error) {
    throw notStarted(error);
  }
}

const inTerminal = (options: RunOptions): boolean => options.tty && process.stdin.isTTY === true;

async function download(workspace: Workspace, what: Work, code: number): Promise<number> {
  const { options, io, interrupts, progress } = what;
  let result = code;
  for (const { source, destination } of options.download) {
    progress.show(`downloading ${source}`);
    try {
      const user = options.user === undefined ? {} : { user: options.user };
      const from = guestPath(source, options.user);
      await workspace.files.download(from, destination ?? ".", { ...user, signal: interrupts.signal });
    } catch (error) {
      // The command's own failure says more than the file that it did not make.
      progress.clear();
      io.note(sentence(error));
      if (result === 0) result = 125;
    }
  }
  progress.clear();
  return result;
}

async function end(outcome: Outcome, options: RunOptions, io: Io, progress: Progress): Promise<void> {
  const { workspace } = outcome;
  if (workspace === undefined) return;
  if (options.keep)
    return io.note(`kept as ${workspace.name ?? workspace.id}; remove it with 'exai ws rm ${workspace.id}'`);
  progress.show("destroying");
  try {
    await workspace.destroy({ timeoutMs: 60_000 });
  } catch (error) {
    progress.clear();
    const hours = Math.round(timeToLive(options) / 360) / 10;
    io.note(`the workspace ${workspace.id} was not destroyed (${sentence(error)}); it ends by itself in ${hours} h`);
  }
  progress.clear();
}

const exitCodeOf = (error: unknown): number => (error instanceof CliError ? (error.exitCode ?? 125) : 125);

function summary({ workspace, exitCode, execMs, error }: Outcome): unknown {
  const seen: Observation | undefined = workspace?.observed;
  const failure = error instanceof SdkError || error instanceof CliError ? error.code : "internal";
  return {
    workspace: workspace?.id,
    vmm: seen?.vmm,
    accelerator: seen?.accelerator,
    kernel: seen?.kernel,
    exitCode,
    timings: { ...seen?.timings, execMs: rounded(execMs), totalMs: rounded(performance.now()) },
    ...(error === undefined ? {} : { error: { code: failure, message: sentence(error) } }),
  };
}

const rounded = (ms: number | undefined): number | undefined =>
  ms === undefined ? undefined : Math.round(ms * 10) / 10;
