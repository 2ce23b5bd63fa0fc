/** Contracts between the processes of one host. No logic. */
export {
  absolutePath,
  type ClientProfile,
  clientProfile,
  type HostAnchor,
  hostAnchor,
  type TenantAnchor,
  tenantAnchor,
  tenantName,
} from "./anchors.ts";
export { type ChannelConfig, channelConfig, channelContract } from "./channel.ts";
export { type ControlConfig, controlConfig, type NodeConfig, nodeConfig } from "./config.ts";
export { type DeviceReport, type DeviceReports, deviceReport, deviceReports, worstReports } from "./device-report.ts";
export {
  type DoctorCheckId,
  type DoctorMode,
  type DoctorReport,
  type DoctorResult,
  type DoctorSeverity,
  type DoctorStatus,
  type DoctorSummary,
  doctorCheckIds,
  doctorReport,
  doctorSummary,
} from "./doctor.ts";
export {
  type FirecrackerConfig,
  type FirecrackerLoad,
  firecrackerAnswers,
  firecrackerConfig,
  firecrackerLoad,
  firecrackerMetrics,
  firecrackerSnapshot,
} from "./firecracker.ts";
export {
  type ImageBlob,
  type ImageIndex,
  type ImageManifest,
  type ImageSignatures,
  imageIndex,
  imageManifest,
  imageName,
  imagePayloadType,
  imageSignatures,
  imageStorePaths,
} from "./image.ts";
export {
  type FloorState,
  floorState,
  jail,
  type LaunchRequest,
  launchRequest,
  nodeContract,
  prepareRequest,
  type VmStatus,
  vmStatus,
} from "./node.ts";
export {
  type FileDigest,
  type SealedFile,
  type SnapshotOrigin,
  type SnapshotRecord,
  type SnapshotRef,
  snapshotOrigin,
  snapshotRecord,
  snapshotRef,
} from "./snapshot.ts";
