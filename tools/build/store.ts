import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import {
  chmodSync,
  createReadStream,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { type ImageBlob, type ImageManifest, imageIndex, imageStorePaths } from "@exai/api/host";
import { canonicalBytes } from "@exai/base";
import { manifestDigest, rawPublicKey, signManifest } from "@exai/machine/image";
import { lockFile } from "./lock.ts";
import { cachePaths } from "./paths.ts";

/** Writes the image store that `packages/machine/src/image` reads. */

/** A file of the build cache becomes a blob: another name of the same bytes, read-only for all. */
export async function putBlob(path: string): Promise<ImageBlob> {
  const sha256 = await digestOf(path);
  const store = openStore();
  const blob = join(store, imageStorePaths.blob(sha256));
  if (!existsSync(blob)) {
    chmodSync(path, 0o444);
    const fresh = `${blob}.${process.pid}`;
    rmSync(fresh, { force: true });
    linkSync(path, fresh);
    renameSync(fresh, blob);
  }
  return { sha256, sizeBytes: statSync(path).size };
}

/** SHA-256 of a file of the cache, kept beside it for as long as the file stays as it is: a large one takes a second. */
async function digestOf(path: string): Promise<string> {
  const { ino, size, mtimeMs } = statSync(path);
  const state = `${ino} ${size} ${mtimeMs}`;
  const kept = `${path}.sha256`;
  const [digest = "", of] = existsSync(kept) ? readFileSync(kept, "utf8").split("\n") : [];
  if (of === state) return digest;
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  const fresh = hash.digest("hex");
  write(kept, `${fresh}\n${state}`, 0o644);
  return fresh;
}

/** Signs the manifest and gives it its name. @returns its digest */
export async function putImage(manifest: ImageManifest): Promise<string> {
  const store = openStore();
  const digest = manifestDigest(manifest);
  const bytes = canonicalBytes(manifest);
  const signatures = signManifest(bytes, openReleaseKey());
  write(join(store, imageStorePaths.manifest(digest)), bytes, 0o444);
  write(join(store, imageStorePaths.signatures(digest)), JSON.stringify(signatures), 0o444);
  using _lock = await lockFile(join(store, ".lock"));
  const path = join(store, imageStorePaths.index);
  const index = existsSync(path) ? imageIndex.parse(JSON.parse(readFileSync(path, "utf8"))) : {};
  index[manifest.name] = digest;
  write(path, `${JSON.stringify(index, null, 2)}\n`, 0o644);
  return digest;
}

function openStore(): string {
  const { cache, images } = cachePaths();
  for (const folder of [
    cache,
    images,
    join(images, "blobs"),
    join(images, "blobs/sha256"),
    join(images, "manifests"),
  ]) {
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    // Whatever the umask: VMMs run as users of their own.
    chmodSync(folder, 0o755);
  }
  return images;
}

/** On one machine, set-up is who releases: its key signs what it built, and the stack enrols the public half. */
function openReleaseKey(): KeyObject {
  const { release } = cachePaths();
  const path = join(release, "release.key");
  if (!existsSync(path)) {
    mkdirSync(release, { recursive: true, mode: 0o755 });
    const { privateKey } = generateKeyPairSync("ed25519");
    write(path, privateKey.export({ type: "pkcs8", format: "pem" }), 0o600);
  }
  const key = createPrivateKey(readFileSync(path));
  write(join(release, "release.pub"), `${rawPublicKey(key)}\n`, 0o644);
  return key;
}

function write(path: string, content: string | Uint8Array, mode: number): void {
  const fresh = `${path}.${process.pid}`;
  writeFileSync(fresh, content, { mode });
  chmodSync(fresh, mode);
  renameSync(fresh, path);
}
