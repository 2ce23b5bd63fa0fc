import { open } from "node:fs/promises";
import { refuse } from "./manifest.ts";

// elf(5): magic, 64-bit, little-endian, version 1; then at 16 the type and at 18 the machine.
const identity = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
const headerBytes = 64;
const x86_64 = 62;
/** Fixed, or position-independent as a relocatable kernel is. */
const executables = [2, 3];

/**
 * A VMM loads nothing but an uncompressed kernel for this processor, and says so in words of its own, or by hanging.
 * @throws MachineError `refused-image`
 */
export async function requireKernel(path: string): Promise<void> {
  await using file = await open(path, "r");
  const header = Buffer.alloc(headerBytes);
  const { bytesRead } = await file.read(header, 0, headerBytes, 0);
  if (bytesRead < headerBytes || !header.subarray(0, identity.length).equals(identity))
    throw refuse("the image's kernel is no uncompressed 64-bit ELF file; build it as 'vmlinux'");
  if (header.readUInt16LE(18) !== x86_64 || !executables.includes(header.readUInt16LE(16)))
    throw refuse("the image's kernel is an ELF file, but no program for x86-64");
}
