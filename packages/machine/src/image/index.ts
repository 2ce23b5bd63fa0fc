export { BlobVerifier } from "./blobs.ts";
export { bootFilesOf, loadImage, loadManifest, resolveImageName, type VerifiedImage } from "./load.ts";
export { manifestDigest, parseManifest } from "./manifest.ts";
export { rawPublicKey, signManifest } from "./signature.ts";
