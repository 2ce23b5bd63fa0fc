import { Command, CommanderError, type Option } from "commander";
import { type CommandEntry, commands } from "./commands/table.ts";
import type { Globals } from "./context.ts";
import { CliError, sentence } from "./errors.ts";
import { clean } from "./text/clean.ts";

/** Runs one command line. @returns the exit code */
export async function main(argv: readonly string[]): Promise<number> {
  const program = newProgram();
  const entry = findCommand(argv);
  for (const each of commands) {
    // A file may hold several commands and then adds them all.
    if (each.load !== entry?.load) program.command(each.names[0]).description(each.summary);
  }
  let code = 0;
  try {
    if (entry !== undefined) {
      const { register } = await entry.load();
      register(program, {
        argv,
        globals: () => program.opts<Globals>(),
        exit: (value) => {
          code = value;
        },
      });
    }
    await program.parseAsync(argv, { from: "user" });
    return code;
  } catch (error) {
    return fail(error, entry);
  }
}

function newProgram(): Command {
  return new Command("exai")
    .description("Run programs in microVMs of their own.")
    .option("--home <folder>", "state folder of the stack (default: $EXAI_HOME or /var/lib/exai)")
    .option("--tenant <tenant>", "tenant by name or id, when the stack has several")
    .enablePositionalOptions()
    .exitOverride()
    .configureHelp({ optionDescription: describeOption })
    .configureOutput({ writeErr: () => undefined })
    .addHelpText("after", "\nStart here:\n  exai up -d\n  exai run -- uname -a\n  exai COMMAND --help");
}

/** Only defaults that say something: a flag that is off, or a list that is empty, does not. */
function describeOption(option: Option): string {
  const value: unknown = option.defaultValue;
  return typeof value === "string" ? `${option.description} (default: ${value})` : option.description;
}

/** The command's entry by the first word that is no option of the program. */
function findCommand(argv: readonly string[]): CommandEntry | undefined {
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? "";
    if (word === "--home" || word === "--tenant") at++;
    else if (!word.startsWith("-")) return commands.find((each) => each.names.includes(word));
  }
  return undefined;
}

function fail(error: unknown, entry: CommandEntry | undefined): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    const text = error.message.replace(/^error: /, "").replaceAll("\n", " ");
    const command = entry === undefined ? "exai" : `exai ${entry.names[0]}`;
    say(/help/.test(error.code) ? `a command is missing; see '${command} --help'` : `${text}; see '${command} --help'`);
    return entry?.usageCode ?? 2;
  }
  say(sentence(error));
  if (!(error instanceof CliError)) return entry?.failureCode ?? 1;
  return error.exitCode ?? (error.code === "usage" ? entry?.usageCode : entry?.failureCode) ?? 1;
}

/** One line, whatever is in it; a person who asked for a stack trace gets its lines. */
function say(text: string): void {
  const shown = process.env["EXAI_DEBUG"] ? text.split("\n").map(clean).join("\n") : clean(text);
  process.stderr.write(`exai: ${shown}\n`);
}
