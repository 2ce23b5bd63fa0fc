import { shellCode } from "@exai/sdk";
import { CliError, usage } from "../errors.ts";
import { createIo } from "../io.ts";
import { openClient } from "../open.ts";
import { Interrupts } from "../session/interrupts.ts";
import { LocalOutput } from "../session/output.ts";
import { runSession } from "../session/session.ts";
import { terminalSize } from "../session/terminal.ts";
import type { Register } from "./common.ts";
import { warnOfLoss } from "./exec.ts";

export const register: Register = (program, context) => {
  program
    .command("attach")
    .description("attach to a program of a workspace; output begins with the oldest byte that is kept")
    .argument("<workspace>", "name, id or its beginning")
    .argument("<pid>", "as 'exai ps' lists it")
    .option("-i, --interactive", "hand on standard input", false)
    .option("--json", "print a summary as the last line", false)
    .addHelpText(
      "after",
      "\nExamples:\n  exai ps build\n  exai attach build 3\n\nCtrl-P Ctrl-Q leaves a terminal's program running. A second Ctrl-C leaves any other.",
    )
    .action(async (reference: string, pid: string, options: { interactive: boolean; json: boolean }) => {
      if (!/^\d{1,18}$/.test(pid)) throw usage(`'${pid}' is not a number of a program; see 'exai ps ${reference}'`);
      const io = createIo(options.json);
      using interrupts = new Interrupts();
      await using client = await openClient(context.globals());
      const workspace = await client.workspaces.get(reference);
      const entry = (await workspace.processes()).find((each) => each.id === BigInt(pid));
      if (entry === undefined) {
        throw new CliError("failed", `there is no program ${pid} in ${reference}; see 'exai ps -a ${reference}'`, {
          exitCode: 127,
        });
      }
      const terminal = entry.terminal && process.stdin.isTTY === true;
      const output = new LocalOutput({ terminal });
      await using execution = await workspace.attach(entry.id, { onOutput: output.write, signal: interrupts.signal });
      if (terminal) await execution.resize(terminalSize()).catch(() => undefined); // it may have ended
      const stdin = options.interactive || terminal;
      const status = await runSession(execution, { output, interrupts, stdin, terminal });
      const code = status === undefined ? (interrupts.exitCode ?? 0) : shellCode(status);
      if (status === undefined) io.note(`left running as ${pid}`);
      warnOfLoss(io, execution.lostBytes);
      if (io.json) io.printJson({ workspace: workspace.id, process: Number(pid), exitCode: code });
      context.exit(code);
    });
};
