import { CodedError } from "@exai/base";

/**
 * - `no-vm`: no microVM of this workspace runs on this host.
 * - `not-ready`: it runs, but its guest has not said hello in time.
 * - `broken-guest`: the guest broke its contract.
 * - `busy`: more calls wait for guests than are allowed.
 * - `config`: the configuration on standard input is not valid.
 * - `listen`: an address or socket could not be opened.
 */
export type TenantErrorCode = "no-vm" | "not-ready" | "broken-guest" | "busy" | "config" | "listen";

export class TenantError extends CodedError<TenantErrorCode> {}
