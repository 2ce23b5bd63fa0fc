import type { KeyObject } from "node:crypto";
import type { AuditEvent } from "@exai/audit";
import { describeError, type TenantId } from "@exai/base";
import { loadLogKey, type SealedRecord } from "@exai/sdk";
import { createIo, type Io } from "../io.ts";
import { openClient } from "../open.ts";
import { Interrupts } from "../session/interrupts.ts";
import { clean } from "../text/clean.ts";
import { parseCount } from "../text/parse.ts";
import { Sequences } from "../text/sequences.ts";
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
    .action(async (options: Options) => {
      const io = createIo(options.json);
      using interrupts = new Interrupts();
      await using client = await openClient(context.globals());
      const only = options.workspace === undefined ? undefined : (await client.workspaces.get(options.workspace)).id;
      const key = loadLogKey(client.loaded);
      const { follow, last } = options;
      const newest: Shown[] = [];
      // Each writer gives its own newest: of all of them the newest are wanted.
      const take = (shown: Shown) => {
        if (shown.bad) context.exit(1);
        if (follow || last === 0) show(io, shown);
        else if (newest.push(shown) > last) newest.shift();
      };
      const sequences = new Sequences(last === 0);
      for await (const record of client.events({ follow, last, signal: interrupts.signal })) {
        const missing = sequences.missingBefore(record);
        if (missing > 0n)
          take({ record: { ...record, kind: "broken" }, note: `${missing} records before it are missing`, bad: true });
        const shown = await open(key, client.loaded.profile.tenant, record);
        // What is no event may stand for one of this workspace.
        if (only === undefined || shown.event === undefined || shown.event.workspace === only) take(shown);
      }
      if (interrupts.exitCode === undefined) {
        for (const { host, writer } of sequences.silent(client.loaded.profile.hosts.map((each) => each.host))) {
          const record = { kind: "broken", host, writer, sequence: 0n, sealed: new Uint8Array() } as const;
          take({ record, note: "this host handed on no record of it, and each has one", bad: true });
        }
      }
      for (const each of newest) show(io, each);
      if (interrupts.exitCode !== undefined && !follow) context.exit(interrupts.exitCode);
    });
};

interface Options {
  follow: boolean;
  last: number;
  workspace?: string;
  json: boolean;
}

interface Shown {
  readonly record: SealedRecord;
  readonly event?: AuditEvent;
  /** What stands in the place of an event. */
  readonly note?: string;
  readonly bad: boolean;
}

async function open(key: KeyObject, tenant: TenantId, record: SealedRecord): Promise<Shown> {
  const { openEvent, openGap } = await import("@exai/audit");
  const { writer } = record;
  if (record.kind === "broken")
    return { record, note: "records before this one were changed, cut out or lost", bad: true };
  try {
    if (record.kind === "gap") {
      const { count } = openGap({ tenant, writer }, record.sealed);
      return { record, note: `${count} events found no space`, bad: false };
    }
    const place = { tenant, writer, sequence: Number(record.sequence) };
    return { record, event: openEvent(key, place, record.sealed), bad: false };
  } catch (error) {
    return { record, note: `it does not open: ${describeError(error)}`, bad: true };
  }
}

function show(io: Io, { record, event, note }: Shown): void {
  const place = { writer: record.writer, sequence: Number(record.sequence) };
  if (io.json) io.printJson({ ...place, ...(event ?? { kind: record.kind, note }) });
  else if (event === undefined) io.print(clean(`${record.writer} ${record.sequence}: ${note}`));
  else {
    const detail = event.detail === undefined ? "" : ` ${JSON.stringify(event.detail)}`;
    const outcome = event.outcome === "ok" ? "" : ` ${event.outcome}`;
    const when = new Date(event.ts).toISOString();
    io.print(clean(`${when} ${event.actor} ${event.action} ${event.target}${outcome}${detail}`));
  }
}
