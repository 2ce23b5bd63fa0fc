export { BlobVerifier } from "./blobs.ts";
export { loadImage, resolveImageName, type VerifiedImage } from "./load.ts";
export { manifestDigest, parseManifest } from "./manifest.ts";
export { rawPublicKey, signManifest } from "./signature.ts";
