/** One disposable microVM: its guest channel, its VMM, its life. */

export { MachineError, type MachineErrorCode } from "./errors.ts";
export * from "./guest/index.ts";
export * from "./image/index.ts";
export {
  BlobVerifier,
  loadImage,
  loadManifest,
  manifestDigest,
  parseManifest,
  rawPublicKey,
  resolveImageName,
  signManifest,
  type VerifiedImage,
} from "./image/index.ts";
export { hasVmm, type MachineEvent, type MachineExit, type MachineState, nextState, type Phase } from "./lifecycle.ts";
export { Machine, type MachineOptions, type NodeCalls, nodeCalls, startMachine } from "./machine.ts";
export { memoryOverheadMib } from "./overhead.ts";
export { type KvmAnswer, type KvmProbeOptions, kvmProbeArguments, type ProbeBoot, probeKvm } from "./probe/kvm.ts";
export { hostTscKhz, type TscOptions } from "./probe/tsc.ts";
export { exitReason } from "./vmm/exit.ts";
export { FirecrackerApi, type FirecrackerVersion, loadBody } from "./vmm/firecracker/api.ts";
export { planFirecracker } from "./vmm/firecracker/plan.ts";
export { connectMonitor, type Monitor } from "./vmm/monitor.ts";
export {
  type Accelerator,
  type BootFiles,
  jailPaths,
  type LaunchPlan,
  loadArgv,
  type MachineSize,
} from "./vmm/plan.ts";
export { channelPort, planQemu, translationCacheMib } from "./vmm/qemu/plan.ts";
export { connectQmp, type Qmp, type QmpCommand } from "./vmm/qemu/qmp.ts";
