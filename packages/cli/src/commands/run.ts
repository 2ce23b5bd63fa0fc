import type { Command } from "commander";
import { createIo } from "../io.ts";
import { openClient } from "../open.ts";
import type { RunOptions } from "../run/plan.ts";
import { runCommand } from "../run/run.ts";
import * as parse from "../text/parse.ts";
import { collect, envOption, type Register } from "./common.ts";

const examples = `
Examples:
  exai run -- uname -a
  exai run --upload ./project --cwd project --download project/report.txt -- sh -c 'python3 -m unittest 2>report.txt'
  exai run --memory 1G --timeout 10m --env DEBUG=1 -- make test
  echo 'print(6 * 7)' | exai run -i -- python3 -
  exai run -it -- bash

Exit codes: the command's own; 124 time limit, 125 exai failed, 126 not executable, 127 not found, 128+n by signal n.`;

export const register: Register = (program, context) => {
  program
    .command("run")
    .description("run one command in a workspace of its own, which is destroyed afterwards")
    .argument("<command...>", "the command and its arguments, after --")
    .option("--image <name>", "image by name or digest", "base")
    .option("--cpus <n>", "virtual CPUs", parse.parseCpus)
    .option("--memory <size>", "memory, such as 512M", parse.parseMemory)
    .option("--disk <size>", "writable disk, such as 4G", parse.parseDisk)
    .option("--timeout <time>", "TERM after this time (90s, 5m), then KILL", parse.parseTimeout)
    .option("--ttl <time>", "the workspace ends by itself after this time", parse.parseTtl)
    .option("--env <NAME[=VALUE]>", "environment variable; may be repeated", envOption, [])
    .option("--env-file <file>", "file of NAME=VALUE lines; may be repeated", collect(parse.parseEnvFile), [])
    .option("--upload <SRC[:DEST]>", "copy a file or folder in before; may be repeated", collect(parse.parseUpload), [])
    .option("--download <SRC[:DEST]>", "copy out afterwards; may be repeated", collect(parse.parseDownload), [])
    .option("--user <user>", "user in the guest")
    .option("--cwd <folder>", "working folder; relative to the user's home")
    .option("-i, --interactive", "hand on standard input", false)
    .option("-t, --tty", "give the command a terminal", false)
    .option("--keep", "do not destroy the workspace", false)
    .option("--name <name>", "name of the workspace")
    .option("--label <NAME=VALUE>", "label; may be repeated", collect(parse.parseLabel), [])
    .option("--json", "print a summary as the last line", false)
    .passThroughOptions()
    .addHelpText("after", examples)
    .action(async (argv: string[], _options: unknown, command: Command) => {
      const { json, envFile, ...options } = command.opts<
        RunOptions & { json: boolean; envFile: [string, string][][] }
      >();
      await using client = await openClient(context.globals());
      const env = [...envFile.flat(), ...options.env];
      context.exit(await runCommand(client, argv, { ...options, env }, createIo(json)));
    });
};
