/** Contracts between the processes of one host. No logic. */
export {
  absolutePath,
  type ClientProfile,
  clientProfile,
  type HostAnchor,
  hostAnchor,
  type TenantAnchor,
  tenantAnchor,
} from "./anchors.ts";
export { type ChannelConfig, channelConfig, channelContract } from "./channel.ts";
export { type ControlConfig, controlConfig, type NodeConfig, nodeConfig } from "./config.ts";
export {
  jail,
  type LaunchRequest,
  launchRequest,
  nodeContract,
  prepareRequest,
  type VmStatus,
  vmStatus,
} from "./node.ts";
