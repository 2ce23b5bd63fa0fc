/** One disposable microVM: its guest channel, its VMM, its life. */

export * from "./guest/index.ts";
export {
  BlobVerifier,
  loadImage,
  manifestDigest,
  parseManifest,
  rawPublicKey,
  resolveImageName,
  signManifest,
  type VerifiedImage,
} from "./image/index.ts";
export {
  type Accelerator,
  type BootFiles,
  jailPaths,
  type LaunchPlan,
  type MachineSize,
} from "./vmm/plan.ts";
export { channelPort, planQemu, translationCacheMib } from "./vmm/qemu/plan.ts";
