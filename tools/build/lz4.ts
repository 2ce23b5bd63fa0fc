import { BuildError } from "./errors.ts";

const bad = () => new BuildError("input", "the LZ4 data is broken");

/**
 * LZ4's legacy frame (lz4_Frame_format.md, "Legacy frame"): a magic number, then blocks with their packed sizes.
 * @param size bytes of the result. @throws BuildError `input`
 */
export function lz4Legacy(frame: Buffer, size: number): Buffer {
  const out = Buffer.alloc(size);
  let written = 0;
  for (let at = 4; at + 4 <= frame.length; ) {
    const packed = frame.readUInt32LE(at);
    at += 4;
    if (at + packed > frame.length) throw bad();
    written = block(frame.subarray(at, at + packed), out, written);
    at += packed;
  }
  if (written !== size) throw bad();
  return out;
}

/** lz4_Block_format.md: literals, then a match that is copied from what was written before. */
function block(input: Buffer, out: Buffer, start: number): number {
  let at = 0;
  let written = start;
  const byte = (): number => {
    const value = input[at++];
    if (value === undefined) throw bad();
    return value;
  };
  const length = (nibble: number): number => {
    if (nibble < 15) return nibble;
    for (let sum = 15; ; ) {
      const more = byte();
      sum += more;
      if (more < 255) return sum;
    }
  };
  for (;;) {
    const token = byte();
    const literals = length(token >> 4);
    if (at + literals > input.length || written + literals > out.length) throw bad();
    written += input.copy(out, written, at, at + literals);
    at += literals;
    // The last sequence has no match.
    if (at === input.length) return written;
    const distance = byte() | (byte() << 8);
    const match = length(token & 15) + 4;
    const from = written - distance;
    if (distance === 0 || from < start || written + match > out.length) throw bad();
    if (distance >= match) out.copy(out, written, from, from + match);
    // Overlapping: each byte may be one that this match has just written.
    else for (let k = 0; k < match; k++) out[written + k] = out[from + k] ?? 0;
    written += match;
  }
}
