import { stat } from "node:fs/promises";
import { basename, join, posix, resolve } from "node:path";

/** The name that a local path has when it is put into a folder: `.` is the current folder's own name. */
export const localName = (path: string): string => basename(resolve(path)) || "root";

/** Where a guest's path goes here: into `destination` when that is a folder or ends in a slash, else as it. */
export async function localTarget(source: string, destination: string): Promise<string> {
  const name = posix.basename(posix.normalize(source)) || "root";
  if (destination.endsWith("/")) return join(destination, name);
  const there = await stat(destination).catch(() => undefined);
  return there?.isDirectory() ? join(destination, name) : destination;
}
