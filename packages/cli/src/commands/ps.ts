import { shellCode } from "@exai/sdk";
import { createIo } from "../io.ts";
import { openClient } from "../open.ts";
import { ago, renderTable } from "../text/table.ts";
import type { Register } from "./common.ts";

export const register: Register = (program, context) => {
  program
    .command("ps")
    .description("list the programs that were started in a workspace")
    .argument("<workspace>", "name, id or its beginning")
    .option("-a, --all", "also those that have ended", false)
    .option("--json", "print JSON", false)
    .addHelpText(
      "after",
      "\nExamples:\n  exai ps build\n  exai ps -a build --json\n\nThe first column is what 'exai attach' takes.",
    )
    .action(async (reference: string, options: { all: boolean; json: boolean }) => {
      const io = createIo(options.json);
      await using client = await openClient(context.globals());
      const workspace = await client.workspaces.get(reference);
      const all = (await workspace.processes()).filter((each) => options.all || each.exited === undefined);
      if (io.json) {
        io.printJson(all.map((each) => ({ ...each, id: Number(each.id) })));
        return;
      }
      const rows = all.map((each) => [
        String(each.id),
        String(each.pid),
        each.user,
        each.exited === undefined ? "running" : `exited ${shellCode(each.exited)}`,
        String(each.attached),
        ago(each.startedAt),
        each.argv.join(" ").slice(0, 120),
      ]);
      io.print(renderTable(["pid", "guest pid", "user", "state", "clients", "age", "command"], rows));
    });
};
