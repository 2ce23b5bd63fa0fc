import { basename } from "node:path";
import { formatBytes } from "@exai/base";
import type { FileOptions, TreeProgress, Workspace } from "@exai/sdk";
import { usage } from "../errors.ts";
import { createIo, type Io } from "../io.ts";
import { openClient } from "../open.ts";
import { Interrupts } from "../session/interrupts.ts";
import { copyBar } from "../text/bar.ts";
import { checkLocalTarget, guestPath } from "../text/parse.ts";
import type { Register } from "./common.ts";

interface Options {
  user?: string;
  json: boolean;
}

interface Place {
  /** Undefined: this machine. */
  readonly workspace: string | undefined;
  readonly path: string;
}

/** `WS:PATH` is in a workspace; `./a:b`, `/a:b` and `-` are here. */
export function parsePlace(text: string): Place {
  const match = /^([a-z0-9-]+):(.*)$/s.exec(text);
  if (match === null || text === "-") return { workspace: undefined, path: text };
  return { workspace: match[1] ?? "", path: match[2] ?? "" };
}

export const register: Register = (program, context) => {
  program
    .command("cp")
    .description("copy a file or folder to or from a workspace; '-' is a stream")
    .argument("<source>", "PATH, WORKSPACE:PATH or -")
    .argument("<destination>", "PATH, WORKSPACE:PATH or -")
    .option("--user <user>", "act as this user in the guest")
    .option("--json", "print a summary", false)
    .addHelpText(
      "after",
      "\nExamples:\n  exai cp ./project build:\n  exai cp build:project/report.xml .\n  exai cp - build:notes.txt < notes.txt\n  exai cp build:/var/log/app.log - | less\n\nA relative path in a workspace lies in the user's home. Modes, times and links are kept.",
    )
    .action(async (source: string, destination: string, options: Options) => {
      const [from, to] = [parsePlace(source), parsePlace(destination)];
      const reference = from.workspace ?? to.workspace;
      if (reference === undefined || (from.workspace !== undefined && to.workspace !== undefined)) {
        throw usage("one side must be in a workspace and the other here: write WORKSPACE:PATH for it");
      }
      if (from.workspace !== undefined && to.path !== "-") checkLocalTarget(to.path);
      const io = createIo(options.json);
      using interrupts = new Interrupts();
      await using client = await openClient(context.globals());
      client.preload();
      const workspace = await client.workspaces.get(reference);
      const signal = interrupts.signal;
      const how: FileOptions = options.user === undefined ? { signal } : { signal, user: options.user };
      try {
        const done = await copy(workspace, from, to, how, io);
        if (io.json) io.printJson(done);
      } catch (error) {
        if (interrupts.exitCode === undefined) throw error;
        context.exit(interrupts.exitCode);
      }
    });
};

async function copy(workspace: Workspace, from: Place, to: Place, how: FileOptions, io: Io): Promise<unknown> {
  const inGuest = (place: Place) => inFolder(place.path, guestPath(place.path, how.user));
  if (from.path === "-") {
    const written = await workspace.files.write(inGuest(to), process.stdin as AsyncIterable<Buffer>, how);
    return { files: 1, bytes: written.sizeBytes };
  }
  if (to.path === "-") return await toStdout(workspace, inGuest(from), how);
  using bar = copyBar(io, basename(from.path) || from.path);
  const options = { ...how, onProgress: (progress: Readonly<TreeProgress>) => bar.update(progress) };
  const done =
    from.workspace === undefined
      ? await workspace.files.upload(from.path, inGuest(to), options)
      : await workspace.files.download(inGuest(from), to.path, options);
  bar[Symbol.dispose]();
  if (io.interactive) io.note(`${done.files} files, ${formatBytes(done.bytes)}`);
  if (done.skipped > 0) io.note(`${done.skipped} entries were left out: neither file, folder nor link`);
  return done;
}

/** A trailing slash says "into this folder", and so does an empty path: the home. */
const inFolder = (asked: string, path: string): string =>
  asked === "" || asked.endsWith("/") ? `${path.replace(/\/+$/, "")}/` : path;

async function toStdout(workspace: Workspace, path: string, how: FileOptions): Promise<unknown> {
  let bytes = 0;
  for await (const data of workspace.files.readStream(path, how)) {
    bytes += data.length;
    if (!process.stdout.write(data)) await new Promise((resolve) => process.stdout.once("drain", resolve));
  }
  return { files: 1, bytes };
}
