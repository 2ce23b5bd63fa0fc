import { createHash } from "node:crypto";
import { type BigIntStats, statSync } from "node:fs";
import { type FileHandle, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ImageBlob, imageStorePaths } from "@exai/api/host";
import { errorCode } from "@exai/base";
import { refuse } from "./manifest.ts";

const chunkBytes = 1 << 20;
/** A kernel or an initramfs, of a distribution even. */
const maxCopiedBytes = 512 << 20;
/** A host has a few images; a store that churns through more only hashes again. */
const maxRemembered = 1024;

/**
 * Checks blobs against their digests, each file once: hashing a root file system takes longer than a boot. What was
 * checked is remembered by (device, inode, size, mtime, ctime). The kernel sets ctime, so a write by anyone shows,
 * but for root, who can set the clock and is not defended against.
 */
export class BlobVerifier {
  readonly #verified = new Map<string, string>();

  /** @returns the blob's path. @throws MachineError `refused-image` */
  async verify(store: string, blob: ImageBlob, what: string): Promise<string> {
    const path = join(store, imageStorePaths.blob(blob.sha256));
    // Every boot asks, and mostly for what is known.
    const now = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (now?.isFile() && this.#verified.get(keyOf(now)) === blob.sha256 && Number(now.size) === blob.sizeBytes)
      return path;
    await using file = await openBlob(path, what);
    const before = await identity(file);
    if (before.sizeBytes !== blob.sizeBytes) {
      throw refuse(`the image's ${what} has ${before.sizeBytes} bytes, its manifest says ${blob.sizeBytes}`);
    }
    if (this.#verified.get(before.key) === blob.sha256) return path;
    if ((await sha256(file)) !== blob.sha256) throw refuse(`the image's ${what} was changed: its digest differs`);
    // Changed while it was read: then what was hashed is not what is there.
    if ((await identity(file)).key !== before.key) throw refuse(`the image's ${what} is being written to`);
    if (this.#verified.size >= maxRemembered) this.#verified.clear();
    this.#verified.set(before.key, blob.sha256);
    return path;
  }
}

/**
 * A checked copy of a small blob, for a program that nothing else confines: what the store's owner writes into the
 * file afterwards does not reach it.
 * @throws MachineError `refused-image`
 */
export async function copyBlob(store: string, blob: ImageBlob, what: string, target: string): Promise<void> {
  await using file = await openBlob(join(store, imageStorePaths.blob(blob.sha256)), what);
  const { sizeBytes } = await identity(file);
  if (sizeBytes !== blob.sizeBytes || sizeBytes > maxCopiedBytes) throw refuse(`the image's ${what} has a wrong size`);
  const bytes = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; ) {
    const { bytesRead } = await file.read(bytes, at, sizeBytes - at, at);
    if (bytesRead === 0) throw refuse(`the image's ${what} is being written to`);
    at += bytesRead;
  }
  if (createHash("sha256").update(bytes).digest("hex") !== blob.sha256) {
    throw refuse(`the image's ${what} was changed: its digest differs`);
  }
  await writeFile(target, bytes, { flag: "wx", mode: 0o400 });
}

async function openBlob(path: string, what: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (cause) {
    if (errorCode(cause) === "ENOENT") throw refuse(`the image's ${what} is not in the store; run 'make build'`);
    throw refuse(`the image's ${what} can't be read`, cause);
  }
}

async function identity(file: FileHandle): Promise<{ key: string; sizeBytes: number }> {
  const stat = await file.stat({ bigint: true });
  if (!stat.isFile()) throw refuse("a blob of the image store is not a regular file");
  return { key: keyOf(stat), sizeBytes: Number(stat.size) };
}

const keyOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  [dev, ino, size, mtimeNs, ctimeNs].join(":");

async function sha256(file: FileHandle): Promise<string> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(chunkBytes);
  for (let at = 0; ; ) {
    const { bytesRead } = await file.read(buffer, 0, chunkBytes, at);
    if (bytesRead === 0) return hash.digest("hex");
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}
