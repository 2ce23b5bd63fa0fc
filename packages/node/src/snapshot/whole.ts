import type { FileHandle } from "node:fs/promises";
import { openOwn } from "./chunks.ts";

/** A description has some 30 KB. */
const longestTail = 256 << 10;
const magic = Buffer.from("QEVM");
/** End of the sections, and the type of the description behind them. */
const mark = Buffer.from([0, 6]);

/**
 * Whether QEMU came to the end of a state (migration/savevm.c): behind the last section stands a description of all of
 * them, JSON behind its length (uint32, big-endian), and nothing more. It finds a state that was cut off, not one that is forged.
 * @throws NodeError `no-snapshot` when there is no such file
 */
export async function isWholeQemuState(path: string): Promise<boolean> {
  await using file = await openOwn(path);
  const { size } = await file.stat();
  if (!(await read(file, magic.length, 0)).equals(magic)) return false;
  const tail = await read(file, Math.min(size, longestTail), Math.max(0, size - longestTail));
  if (tail.at(-1) !== 0x7d) return false; // "}"
  for (let at = tail.length - 1; at >= 0; at--) {
    at = tail.lastIndexOf(mark, at);
    const json = at + mark.length + 4;
    if (at < 0 || json >= tail.length) continue;
    if (tail.readUInt32BE(json - 4) === tail.length - json) return tail[json] === 0x7b; // "{"
  }
  return false;
}

async function read(file: FileHandle, length: number, position: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}
