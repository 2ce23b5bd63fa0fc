import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type ImageManifest, imageIndex, imageStorePaths } from "@exai/api/host";
import { errorCode } from "@exai/base";
import type { BootFiles } from "../vmm/plan.ts";
import { BlobVerifier } from "./blobs.ts";
import { requireKernel } from "./kernel.ts";
import { parseManifest, refuse } from "./manifest.ts";
import { verifySignature } from "./signature.ts";

/** An image whose signature and every digest were checked on this host. */
export interface VerifiedImage extends BootFiles {
  /** SHA-256 of the manifest. */
  readonly digest: string;
  readonly name: string;
  /** Where the store keeps the files; their names are their digests. */
  readonly paths: { readonly kernel: string; readonly initramfs: string; readonly rootfs: string };
}

const architecture = "x86_64";
const remembered = new BlobVerifier();

/**
 * @param store folder of the image store
 * @param digest SHA-256 of the manifest, hex: how desired state names an image
 * @param releaseKeys raw Ed25519 public keys, base64url, that reached this host by enrolment
 * @throws MachineError `refused-image`: unknown, unsigned, changed, of another architecture, or with a kernel that is none
 */
export async function loadImage(
  store: string,
  digest: string,
  releaseKeys: readonly string[],
  blobs: BlobVerifier = remembered,
): Promise<VerifiedImage> {
  const manifest = await loadManifest(store, digest, releaseKeys);
  const [kernel, initramfs, rootfs] = await Promise.all([
    blobs.verify(store, manifest.kernel, "kernel"),
    blobs.verify(store, manifest.initramfs, "initramfs"),
    blobs.verify(store, manifest.rootfs, "root file system"),
  ]);
  await requireKernel(kernel);
  return {
    digest,
    name: manifest.name,
    ...bootFilesOf(manifest),
    paths: { kernel, initramfs, rootfs },
  };
}

/** What a guest boots from, as a manifest names it. */
export const bootFilesOf = (manifest: ImageManifest): BootFiles => ({
  kernel: manifest.kernel.sha256,
  kernelFlavor: manifest.kernelFlavor,
  initramfs: manifest.initramfs.sha256,
  rootfs: manifest.rootfs.sha256,
  rootfsType: manifest.rootfsFormat,
  commandLine: manifest.commandLine,
});

/**
 * The manifest alone, with its signature: none of the files that it names was looked at.
 * @throws MachineError `refused-image`: unknown, unsigned, or of another architecture
 */
export async function loadManifest(
  store: string,
  digest: string,
  releaseKeys: readonly string[],
): Promise<ImageManifest> {
  if (!/^[0-9a-f]{64}$/.test(digest)) throw refuse("an image is named by 64 lower-case hex digits");
  const bytes = await read(join(store, imageStorePaths.manifest(digest)), `there is no image ${short(digest)} here`);
  if (createHash("sha256").update(bytes).digest("hex") !== digest) {
    throw refuse(`the manifest of image ${short(digest)} was changed: its digest differs`);
  }
  const unsigned = `image ${short(digest)} is not signed`;
  verifySignature(bytes, await read(join(store, imageStorePaths.signatures(digest)), unsigned), releaseKeys);
  const manifest = parseManifest(bytes);
  if (manifest.architecture !== architecture) {
    throw refuse(`image ${manifest.name} is for ${manifest.architecture}, this host is ${architecture}`);
  }
  return manifest;
}

/**
 * Name → digest, for whoever asks for a workspace: the answer goes into what the tenant signs, and the host then
 * knows the digest only.
 * @throws MachineError `refused-image`
 */
export async function resolveImageName(store: string, name: string): Promise<string> {
  const bytes = await read(join(store, imageStorePaths.index), `there are no images in ${store}; run 'make build'`);
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw refuse("the index of the image store is not JSON", cause);
  }
  const parsed = imageIndex.safeParse(value);
  if (!parsed.success) throw refuse("the index of the image store is malformed", parsed.error);
  const digest = Object.hasOwn(parsed.data, name) ? parsed.data[name] : undefined;
  if (digest !== undefined) return digest;
  const names = Object.keys(parsed.data).sort().join(", ");
  throw refuse(`there is no image named '${name}'; there are: ${names === "" ? "none" : names}`);
}

const short = (digest: string): string => digest.slice(0, 12);

async function read(path: string, missing: string): Promise<Buffer> {
  try {
    return readFileSync(path); // small, and quicker read than handed to a thread
  } catch (cause) {
    throw errorCode(cause) === "ENOENT" ? refuse(missing) : refuse(`${path} can't be read`, cause);
  }
}
