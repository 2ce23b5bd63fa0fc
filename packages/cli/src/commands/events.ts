import type { AuditEvent } from "@exai/audit";
import { describeError } from "@exai/base";
import { loadLogKey, type SealedRecord } from "@exai/sdk";
import { createIo, type Io } from "../io.ts";
import { openClient } from "../open.ts";
import { Interrupts } from "../session/interrupts.ts";
import { clean } from "../text/clean.ts";
import { parseCount } from "../text/parse.ts";
import type { Register } from "./common.ts";

export const register: Register = (program, context) => {
  program
    .command("events")
    .description("show what happened; records are opened here, with the tenant's own log key")
    .option("-f, --follow", "wait for more", false)
    .option("--last <n>", "only the newest n", parseCount, 0)
    .option("--workspace <workspace>", "only of this workspace: name, id or its beginning")
    .option("--json", "one JSON line for each", false)
    .addHelpText(
      "after",
      "\nExamples:\n  exai events --last 20\n  exai events -f --json\n  exai events --workspace build",
    )
    .action(async (options: { follow: boolean; last: number; workspace?: string; json: boolean }) => {
      const { openEvent } = await import("@exai/audit");
      const io = createIo(options.json);
      using interrupts = new Interrupts();
      await using client = await openClient(context.globals());
      const { tenant } = client.loaded.profile;
      const only = options.workspace === undefined ? undefined : (await client.workspaces.get(options.workspace)).id;
      const key = loadLogKey(client.loaded);
      const { follow, last } = options;
      for await (const record of client.events({ follow, last, signal: interrupts.signal })) {
        const place = { tenant, writer: record.writer, sequence: Number(record.sequence) };
        try {
          const event = openEvent(key, place, record.sealed);
          if (only === undefined || event.workspace === only) show(io, record, event);
        } catch (error) {
          io.note(`record ${record.sequence} of ${record.writer} does not open: ${describeError(error)}`);
          context.exit(1);
        }
      }
      if (interrupts.exitCode !== undefined && !follow) context.exit(interrupts.exitCode);
    });
};

function show(io: Io, record: SealedRecord, event: AuditEvent): void {
  if (io.json) {
    io.printJson({ writer: record.writer, sequence: Number(record.sequence), ...event });
    return;
  }
  const detail = event.detail === undefined ? "" : ` ${JSON.stringify(event.detail)}`;
  const outcome = event.outcome === "ok" ? "" : ` ${event.outcome}`;
  io.print(
    clean(`${new Date(event.ts).toISOString()} ${event.actor} ${event.action} ${event.target}${outcome}${detail}`),
  );
}
