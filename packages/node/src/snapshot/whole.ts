import { open } from "node:fs/promises";

/** A description has some 30 KB. */
const longestTail = 1 << 20;
const magic = Buffer.from("QEVM");
/** End of the sections, and the type of the description behind them. */
const mark = Buffer.from([0, 6]);

/**
 * Whether QEMU came to the end of a state (migration/savevm.c): behind the last section stands a description of all of
 * them, JSON behind its length (uint32, big-endian), and nothing more. It finds a state that was cut off; one that was
 * changed is found by its digest.
 */
export async function isWholeQemuState(path: string): Promise<boolean> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  const head = await read(file, magic.length, 0);
  if (!head.equals(magic)) return false;
  const tail = await read(file, Math.min(size, longestTail), Math.max(0, size - longestTail));
  for (let at = tail.lastIndexOf(mark); at >= 0; at = at === 0 ? -1 : tail.lastIndexOf(mark, at - 1)) {
    const json = at + mark.length + 4;
    if (json <= tail.length && tail.readUInt32BE(json - 4) === tail.length - json) return isObject(tail.subarray(json));
  }
  return false;
}

async function read(file: Awaited<ReturnType<typeof open>>, length: number, position: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}

function isObject(bytes: Buffer): boolean {
  try {
    return typeof JSON.parse(bytes.toString("utf8")) === "object";
  } catch {
    return false;
  }
}
