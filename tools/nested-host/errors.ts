import { CodedError } from "@exai/base";

/**
 * `missing`: something was not built. `boot`: the nested host did not come up, or went away. `stalled`: it stands still
 * by the emulator's fault. `monitor`: QEMU refused. `command`: what ran in it could not be started or was cut off.
 */
export type HostErrorCode = "missing" | "boot" | "stalled" | "monitor" | "command";

export class HostError extends CodedError<HostErrorCode> {}
