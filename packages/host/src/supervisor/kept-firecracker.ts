import { createHash } from "node:crypto";
import { type FileHandle, open, readdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Firecracker } from "../doctor/firecracker.ts";
import { HostError } from "../errors.ts";
import { ensureFolder } from "../home/files.ts";

/** Ten times what a release has. */
const maxBytes = 64 << 20;
const chunkBytes = 1 << 20;

/**
 * A copy of exactly the bytes that were vouched for, for as long as the stack runs: an update of the host's package, or
 * a file put in its place, reaches no launch. Copies of earlier starts go; what still runs from one keeps its file.
 * @throws HostError `platform` when it is not the file any more whose digest was checked
 */
export async function keepFirecracker(found: Firecracker, folder: string): Promise<Firecracker> {
  ensureFolder(folder, 0o711, { uid: 0, gid: 0 });
  const path = join(folder, `firecracker-${found.sha256.slice(0, 16)}`);
  const fresh = `${path}.new`;
  await rm(fresh, { force: true });
  try {
    await copy(found, fresh);
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
  for (const name of await readdir(folder)) if (name !== basename(path)) await rm(join(folder, name), { force: true });
  return { ...found, path };
}

async function copy(found: Firecracker, target: string): Promise<void> {
  await using from = await open(found.path, "r");
  await using to = await open(target, "wx", 0o500);
  if ((await copyBytes(from, to)) !== found.sha256)
    throw new HostError("platform", `${found.path} was changed while it was looked at; start again`);
  // Each VMM executes it with a uid of its own.
  await to.chmod(0o555);
  await to.sync();
}

/** @returns the SHA-256 of what was written */
async function copyBytes(from: FileHandle, to: FileHandle): Promise<string> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(chunkBytes);
  for (let at = 0; at <= maxBytes; ) {
    const { bytesRead } = await from.read(buffer, 0, chunkBytes, at);
    if (bytesRead === 0) break;
    const part = buffer.subarray(0, bytesRead);
    hash.update(part);
    await to.writeFile(part); // all of it, at the file's position
    at += bytesRead;
  }
  return hash.digest("hex");
}
