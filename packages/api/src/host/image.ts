import { z } from "zod";
import { sha256Hex } from "../ids.ts";

/**
 * What a guest boots from, as digests. An image is known by the SHA-256 of this manifest's canonical bytes (RFC 8785),
 * and a host boots one only when a release key that it trusts has signed those bytes.
 */

/** 64 GiB: a larger root file system is a mistake. */
const maxBlobBytes = 64 * 2 ** 30;

const blob = z.strictObject({ sha256: sha256Hex, sizeBytes: z.int().min(1).max(maxBlobBytes) });
export type ImageBlob = z.infer<typeof blob>;

export const imageName = z.string().regex(/^[a-z0-9][a-z0-9.-]{0,62}$/, "an image name is a-z, 0-9, '.' and '-'");

export const imageManifest = z.strictObject({
  schema: z.literal("exai.image/v1"),
  name: imageName,
  architecture: z.enum(["x86_64", "aarch64"]),
  /** An uncompressed ELF kernel. */
  kernel: blob,
  /** `exai`: ours. `stock`: Debian's, which production mode refuses. */
  kernelFlavor: z.enum(["exai", "stock"]),
  /** A cpio archive with the guest agent as /init. */
  initramfs: blob,
  /** Read-only; any distribution's, since the agent comes with the initramfs. */
  rootfs: blob,
  rootfsFormat: z.enum(["erofs", "squashfs"]),
  /** Further words for the kernel, printable ASCII. */
  commandLine: z.string().regex(/^[\x20-\x7e]{0,512}$/, "a command line is up to 512 printable characters"),
});
export type ImageManifest = z.infer<typeof imageManifest>;

/** DSSE payload type under which a manifest's canonical bytes are signed. */
export const imagePayloadType = "application/vnd.exai.image.v1+json";

/** `manifests/<digest>.sig`: one is enough that a trusted key made. */
export const imageSignatures = z.strictObject({
  payloadType: z.literal(imagePayloadType),
  signatures: z
    .array(
      z.strictObject({
        /** The signer's raw Ed25519 public key, base64url: a hint, never trusted. */
        keyid: z.string().regex(/^[\w-]{43}$/),
        /** 64 bytes, base64url. */
        sig: z.string().regex(/^[\w-]{86}$/),
      }),
    )
    .min(1)
    .max(16),
});
export type ImageSignatures = z.infer<typeof imageSignatures>;

/** `index.json`: names for people. Not signed, so it is only ever read by the side that asks, never by the side that boots. */
export const imageIndex = z.record(imageName, sha256Hex);
export type ImageIndex = z.infer<typeof imageIndex>;

/** Files of an image store, relative to its folder. */
export const imageStorePaths = {
  index: "index.json",
  blob: (sha256: string): string => `blobs/sha256/${sha256}`,
  manifest: (sha256: string): string => `manifests/${sha256}.json`,
  signatures: (sha256: string): string => `manifests/${sha256}.sig`,
} as const;
