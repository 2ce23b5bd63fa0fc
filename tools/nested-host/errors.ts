import { CodedError } from "@exai/base";

/**
 * `missing`: something was not built. `boot`: the nested host did not come up, or went away. `monitor`: QEMU refused.
 * `command`: what ran in it could not be started or was cut off.
 */
export type HostErrorCode = "missing" | "boot" | "monitor" | "command";

export class HostError extends CodedError<HostErrorCode> {}
