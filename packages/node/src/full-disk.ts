import { errorCode } from "@exai/base";
import { NodeError } from "./errors.ts";

/** Whether a program's or the system's words tell of a disk, or a quota, without room. */
export const tellsOfFullDisk = (text: string): boolean => /ENOSPC|No space left|EDQUOT|quota/i.test(text);

export const fullDisk = (cause?: unknown): NodeError =>
  new NodeError("disk-full", "the host's disk is full; free some space on it", { cause });

/** What a step writes may find no room: then the answer says so. @throws NodeError `disk-full`, or what `work` throws */
export async function orFullDisk<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof NodeError || !tellsOfFullDisk(errorCode(error) ?? "")) throw error;
    throw fullDisk(error);
  }
}
