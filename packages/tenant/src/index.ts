/** The per-tenant processes. `channel/main.ts` is started by path; this is for tests that start one in process. */
export { type Channel, type ChannelParts, startChannel } from "./channel/channel.ts";
export { TenantError, type TenantErrorCode } from "./errors.ts";
