import { StringDecoder } from "node:string_decoder";
import { formatBytes } from "@exai/base";
import type { Workspace } from "@exai/sdk";
import type { Command } from "commander";
import { createIo } from "../io.ts";
import { openClient } from "../open.ts";
import { newWorkspace } from "../run/plan.ts";
import { Interrupts } from "../session/interrupts.ts";
import { Progress } from "../session/progress.ts";
import { cleanJson, cleanLines } from "../text/clean.ts";
import * as parse from "../text/parse.ts";
import { ago, renderTable } from "../text/table.ts";
import { type CommandContext, collect, type Register } from "./common.ts";

export const register: Register = (program, context) => {
  const group = program
    .command("workspace")
    .alias("ws")
    .description("create, list, inspect, stop, start and remove workspaces")
    .addHelpText(
      "after",
      "\nExamples:\n  exai ws create --name build --memory 1G\n  exai ws ls\n  exai ws logs build\n  exai ws rm build\n\nA workspace is named by its name, its id, or the first 4 or more characters of the id.",
    );
  registerCreate(group, context);
  registerList(group, context);
  registerInspect(group, context);
  registerLife(group, context);
  registerLogs(group, context);
};

interface CreateOptions {
  image: string;
  cpus?: number;
  memory?: number;
  disk?: number;
  ttl?: number;
  name?: string;
  label: [string, string][];
  wait: boolean;
  json?: boolean;
}

function registerCreate(group: Command, context: CommandContext): void {
  group
    .command("create")
    .description("create a workspace that stays until it is removed")
    .option("--image <name>", "image by name or digest", "base")
    .option("--cpus <n>", "virtual CPUs", parse.parseCpus)
    .option("--memory <size>", "memory, such as 512M", parse.parseMemory)
    .option("--disk <size>", "writable disk, such as 4G", parse.parseDisk)
    .option("--ttl <time>", "it ends by itself after this time", parse.parseTtl)
    .option("--name <name>", "a name for it")
    .option("--label <NAME=VALUE>", "label; may be repeated", collect(parse.parseLabel), [])
    .option("--no-wait", "return before the guest is ready")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  exai ws create --name build\n  exai ws create --memory 2G --ttl 8h --label team=core",
    )
    .action(async (options: CreateOptions) => {
      const io = createIo(options.json === true);
      using interrupts = new Interrupts();
      using progress = new Progress(io.interactive);
      await using client = await openClient(context.globals());
      const workspace = await client.workspaces.create(newWorkspace(client, options), {
        signal: interrupts.signal,
      });
      progress.show("booting");
      if (options.wait) await workspace.ready({ timeoutMs: 120_000, signal: interrupts.signal });
      progress.clear();
      if (io.json) io.printJson(describe(workspace));
      else io.print(workspace.id);
    });
}

function registerList(group: Command, context: CommandContext): void {
  group
    .command("ls")
    .description("list workspaces")
    .option("-a, --all", "also those that were destroyed", false)
    .option("-q, --quiet", "print ids only", false)
    .option("--label <NAME=VALUE>", "only with this label; may be repeated", collect(parse.parseLabel), [])
    .option("--json", "print JSON")
    .addHelpText("after", "\nExamples:\n  exai ws ls\n  exai ws ls --label team=core --json")
    .action(async (options: { all: boolean; quiet: boolean; label: [string, string][]; json?: boolean }) => {
      const io = createIo(options.json === true);
      await using client = await openClient(context.globals());
      const found: Workspace[] = [];
      for await (const each of client.workspaces.list({ ended: options.all })) {
        const gone = each.phase === "destroyed" || (each.record.desired === "destroyed" && each.phase === "unknown");
        if ((options.all || !gone) && options.label.every(([name, value]) => each.spec.labels[name] === value))
          found.push(each);
      }
      if (io.json) io.printJson(found.map(describe));
      else if (options.quiet) for (const each of found) io.print(each.id);
      else io.print(renderTable(["id", "name", "phase", "cpus", "memory", "disk", "age"], found.map(row)));
    });
}

const row = (each: Workspace): string[] => [
  each.id,
  each.name ?? "",
  each.phase,
  String(each.spec.cpus),
  formatBytes(each.spec.memoryMib * 2 ** 20),
  formatBytes(each.spec.diskMib * 2 ** 20),
  ago(new Date(each.record.createdAt)),
];

function registerInspect(group: Command, context: CommandContext): void {
  group
    .command("inspect")
    .description("show everything about one workspace, as JSON")
    .argument("<workspace>", "name, id or its beginning")
    .option("--json", "on one line", false)
    .addHelpText("after", "\nExample:\n  exai ws inspect build")
    .action(async (reference: string, options: { json: boolean }) => {
      await using client = await openClient(context.globals());
      const shown = describe(await client.workspaces.get(reference));
      createIo(options.json).print(cleanJson(shown, options.json ? 0 : 2));
    });
}

/** Name, labels and sizes are what the tenant signed; the rest is what the control plane says. */
function describe(workspace: Workspace): unknown {
  const { record, spec } = workspace;
  return {
    id: workspace.id,
    name: spec.name,
    labels: spec.labels,
    image: spec.image,
    cpus: spec.cpus,
    memoryMib: spec.memoryMib,
    diskMib: spec.diskMib,
    ttlSeconds: spec.ttlSeconds,
    createdAt: record.createdAt,
    desired: record.desired,
    phase: workspace.phase,
    observed: record.observed,
    endpoint: record.endpoint,
  };
}

function registerLife(group: Command, context: CommandContext): void {
  const steps: readonly [string, string, string, (workspace: Workspace) => Promise<void>][] = [
    ["start", "start stopped workspaces", "starting", (workspace) => workspace.start({ timeoutMs: 120_000 })],
    [
      "stop",
      "power workspaces off; their disks stay",
      "stopping",
      (workspace) => workspace.stop({ timeoutMs: 90_000 }),
    ],
    [
      "rm",
      "destroy workspaces with their disks",
      "destroying",
      (workspace) => workspace.destroy({ timeoutMs: 60_000 }),
    ],
  ];
  for (const [name, summary, doing, step] of steps) {
    group
      .command(name)
      .description(summary)
      .argument("<workspace...>", "names, ids or their beginnings")
      .option("--json", "print JSON")
      .addHelpText("after", `\nExamples:\n  exai ws ${name} build\n  exai ws ${name} abcd efgh`)
      .action(async (references: string[], options: { json?: boolean }) => {
        const io = createIo(options.json === true);
        using progress = new Progress(io.interactive);
        await using client = await openClient(context.globals());
        // All are looked up first: a wrong name changes nothing.
        const workspaces: Workspace[] = [];
        for (const reference of references) workspaces.push(await client.workspaces.get(reference));
        for (const workspace of workspaces) {
          progress.show(`${doing} ${workspace.name ?? workspace.id}`);
          await step(workspace);
          progress.clear();
          if (!io.json) io.print(workspace.id);
        }
        if (io.json) io.printJson(workspaces.map(describe));
      });
  }
}

function registerLogs(group: Command, context: CommandContext): void {
  group
    .command("logs")
    .description("show the guest's console, also of a boot that failed")
    .argument("<workspace>", "name, id or its beginning")
    .option("-f, --follow", "wait for more", false)
    .option("--json", "one JSON line for each piece", false)
    .addHelpText("after", "\nExamples:\n  exai ws logs build\n  exai ws logs -f build")
    .action(async (reference: string, options: { follow: boolean; json: boolean }) => {
      const io = createIo(options.json);
      // A file or a pipe gets the bytes as they are.
      const forPerson = process.stdout.isTTY === true;
      const text = new StringDecoder("utf8");
      const show = (piece: string) => {
        if (piece === "") return;
        if (io.json) io.printJson({ data: piece });
        else process.stdout.write(cleanLines(piece));
      };
      using interrupts = new Interrupts();
      await using client = await openClient(context.globals());
      const workspace = await client.workspaces.get(reference);
      for await (const data of workspace.console({ follow: options.follow, signal: interrupts.signal })) {
        if (io.json || forPerson) show(text.write(data));
        else process.stdout.write(data);
      }
      show(text.end());
      if (interrupts.exitCode !== undefined) context.exit(interrupts.exitCode);
    });
}
