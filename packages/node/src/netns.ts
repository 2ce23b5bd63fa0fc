import { statfsSync } from "node:fs";
import { basename } from "node:path";
import { NodeError } from "./errors.ts";
import { run } from "./exec.ts";
import { ifThere, isThere } from "./files.ts";

// linux/magic.h: a file of another file system there is the rest of a namespace that a reboot took.
const nsfsMagic = 0x6e736673;

export const hasNetns = (file: string): boolean => isThere(file) && ifThere(() => statfsSync(file).type) === nsfsMagic;

/** An empty network namespace: no card, loopback down. */
export async function addNetns(launcher: string, file: string): Promise<void> {
  if (!hasNetns(file)) await netns(launcher, "netns-add", file);
}

export async function deleteNetns(launcher: string, file: string): Promise<void> {
  if (isThere(file)) await netns(launcher, "netns-del", file);
}

async function netns(launcher: string, command: "netns-add" | "netns-del", file: string): Promise<void> {
  const { code, stderr } = await run(launcher, [command, basename(file)]);
  if (code !== 0) throw new NodeError("netns-failed", `${command} did not work: ${stderr.trim().slice(0, 500)}`);
}
