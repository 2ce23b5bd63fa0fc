import { chmodSync, chownSync, closeSync, openSync, renameSync, rmSync, truncateSync } from "node:fs";
import { NodeError } from "./errors.ts";
import { run } from "./exec.ts";
import { isThere } from "./files.ts";
import { fullDisk, tellsOfFullDisk } from "./full-disk.ts";
import type { TenantRecord } from "./records.ts";

/**
 * Fast to make and to mount first: the file is sparse, so tables read as zeros and are marked as such (mke2fs discards,
 * which on a file is a hole); the journal is not written either. No blocks are kept for root, whom nobody helps by it.
 */
const mke2fsOptions = [
  ...["-q", "-F", "-t", "ext4", "-L", "exai-overlay", "-m", "0", "-b", "4096", "-e", "remount-ro"],
  ...["-E", "lazy_journal_init=1", "-O", "^resize_inode"],
];

/** Makes `overlay.ext4`, sparse, for the VM's uid alone. It has its name only when it is complete. */
export async function makeDisk(path: string, record: TenantRecord): Promise<void> {
  if (isThere(path)) return;
  const fresh = `${path}.new`;
  rmSync(fresh, { force: true });
  try {
    closeSync(openSync(fresh, "wx", 0o600));
    truncateSync(fresh, record.diskMib * 2 ** 20);
  } catch (cause) {
    rmSync(fresh, { force: true });
    throw diskError("the disk's file can't be made", cause);
  }
  const { code, stderr } = await run("mke2fs", [...mke2fsOptions, ...journal(record.diskMib), fresh]);
  if (code !== 0) {
    rmSync(fresh, { force: true });
    throw diskError(`mke2fs did not work: ${stderr.trim().slice(0, 500)}`, undefined);
  }
  chownSync(fresh, record.uid, record.gid);
  chmodSync(fresh, 0o600);
  renameSync(fresh, path);
}

/** MiB. The default takes 16 to 64; a large one only makes the first mount and a replay longer. */
const journal = (diskMib: number): string[] => (diskMib < 256 ? [] : ["-J", "size=16"]);

function diskError(message: string, cause: unknown): NodeError {
  const full = tellsOfFullDisk(`${message} ${cause instanceof Error ? cause.message : ""}`);
  return full ? fullDisk(cause) : new NodeError("disk-failed", message, { cause });
}
