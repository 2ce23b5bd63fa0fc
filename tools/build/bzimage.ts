import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { BuildError } from "./errors.ts";
import { lz4Legacy } from "./lz4.ts";
import { run } from "./run.ts";

/**
 * The ELF kernel inside a bzImage (Documentation/arch/x86/boot.rst): VMMs that start it directly spare the guest its
 * own, emulated unpacking, which takes seconds.
 * @throws BuildError `input`
 */
export async function extractKernel(image: Buffer): Promise<Buffer> {
  if (image.length < 0x260 || image.toString("ascii", 0x202, 0x206) !== "HdrS") {
    throw new BuildError("input", "this is not a bzImage");
  }
  const setupSectors = image[0x1f1] || 4;
  const start = (setupSectors + 1) * 512 + image.readUInt32LE(0x248);
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c));
  // The build appends the unpacked size, 32 bits, to whatever the compressor made.
  const size = payload.readUInt32LE(payload.length - 4);
  const kernel = await unpack(payload.subarray(0, -4), size);
  if (kernel.length !== size || kernel.readUInt32BE(0) !== 0x7f454c46) {
    throw new BuildError("input", "the bzImage does not hold an ELF kernel");
  }
  return kernel;
}

async function unpack(payload: Buffer, size: number): Promise<Buffer> {
  const magic = payload.readUInt32BE(0);
  if (magic === 0x02214c18) return lz4Legacy(payload, size);
  if (magic === 0x28b52ffd) return zstdDecompressSync(payload);
  if (magic === 0xfd377a58) return unxz(payload);
  if (magic >>> 16 === 0x1f8b) return gunzipSync(payload);
  throw new BuildError("input", `the kernel is compressed in a way that is not known here (${magic.toString(16)})`);
}

/** Node has no xz. */
async function unxz(payload: Buffer): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), "exai-xz-"));
  try {
    const packed = join(folder, "vmlinux.xz");
    writeFileSync(packed, payload);
    await run(["xz", "--decompress", "--quiet", packed]);
    return readFileSync(join(folder, "vmlinux"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
