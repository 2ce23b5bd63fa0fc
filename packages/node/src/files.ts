import {
  closeSync,
  type Dirent,
  fstatSync,
  fsync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { promisify } from "node:util";
import { errorCode } from "@exai/base";

/**
 * Writes a file as a whole or not at all, as every process sees it from now on. What must outlive a power cut also
 * needs `syncAll`.
 */
export function replaceFile(path: string, content: string, mode = 0o644): void {
  const temporary = `${path}.new`;
  try {
    writeFileSync(temporary, content, { mode });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true }); // what it holds is room that others may need now
    throw error;
  }
}

const sync = promisify(fsync);

/** Makes files and folders durable, at once: most file systems do it in one commit. */
export async function syncAll(paths: readonly string[]): Promise<void> {
  await Promise.all(
    paths.map(async (path) => {
      const fd = openSync(path, "r");
      await sync(fd).finally(() => closeSync(fd));
    }),
  );
}

/**
 * Asked first where the answer is often no: an exception, with its stack, costs ten times as much. Below what is no folder (ENOTDIR)
 * there is nothing.
 */
export const isThere = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

/** The content, or undefined when there is no such file. */
export function readIfThere(path: string): string | undefined {
  return isThere(path) ? ifThere(() => readFileSync(path, "utf8")) : undefined;
}

/** The end of a file, which may begin within a character; nothing when there is no such file. */
export function readTail(path: string, bytes: number): string {
  const fd = isThere(path) ? ifThere(() => openSync(path, "r")) : undefined;
  if (fd === undefined) return "";
  try {
    const end = Buffer.alloc(bytes);
    const from = Math.max(0, fstatSync(fd).size - bytes);
    return end.subarray(0, readSync(fd, end, 0, bytes, from)).toString("utf8");
  } finally {
    closeSync(fd);
  }
}

/** What is in a folder; nothing when there is no such folder. */
export function listIfThere(folder: string): Dirent[] {
  return (isThere(folder) ? ifThere(() => readdirSync(folder, { withFileTypes: true })) : undefined) ?? [];
}

/** Undefined when what it works on does not exist (ENOENT) or is a process that has ended (ESRCH). */
export function ifThere<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
}
