import { createHash, hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { FileDigest } from "@exai/api/host";
import { NodeError } from "../errors.ts";

/** A page server checks a piece by itself: small enough to be read for one page, large enough to be hashed fast. */
const chunkBytes = 65_536;
/** Read at once; between two reads the agent answers others. */
const readBytes = 16 * chunkBytes;
const zeros = Buffer.alloc(chunkBytes);
const digestOfZeros = hash("sha256", zeros, "buffer");

/**
 * Size and hash of a file that somebody else may have left: not through a link, a regular file, and no more of it than
 * there was at first.
 * @param mostBytes what it may have; a longer one is not read
 * @throws NodeError `no-snapshot` when there is no such file; `otherwise` when it is longer
 */
export async function digestFile(
  path: string,
  mostBytes: number,
  otherwise: "no-snapshot" | "snapshot-broken" = "no-snapshot",
): Promise<FileDigest> {
  await using file = await openOwn(path);
  const { size } = await file.stat();
  // A hole of a terabyte takes no memory, and minutes to hash.
  if (size > mostBytes)
    throw new NodeError(otherwise, "the snapshot can't be loaded: a file of it is longer than what was saved");
  const whole = createHash("sha256");
  const buffer = Buffer.allocUnsafe(readBytes);
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(readBytes, size - at), at);
    if (bytesRead === 0)
      throw new NodeError("snapshot-broken", "a file of the snapshot became shorter while it was read");
    for (let from = 0; from < bytesRead; from += chunkBytes)
      whole.update(digestOf(buffer.subarray(from, Math.min(from + chunkBytes, bytesRead))));
    at += bytesRead;
  }
  return { sizeBytes: size, chunkBytes, sha256: whole.digest("hex") };
}

/** Most of a fresh guest's memory is zeros; to compare is much cheaper than to hash. */
const digestOf = (chunk: Buffer): Buffer =>
  chunk.length === chunkBytes && chunk.equals(zeros) ? digestOfZeros : hash("sha256", chunk, "buffer");

/**
 * A file that somebody else may have left, for reading: not through a link, and a regular one.
 * @throws NodeError `no-snapshot`
 */
export async function openOwn(path: string): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let file: FileHandle;
  try {
    file = await open(path, flags);
  } catch (cause) {
    throw new NodeError("no-snapshot", "the volume holds no snapshot", { cause });
  }
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new NodeError("no-snapshot", "the volume holds something else than a snapshot");
}
