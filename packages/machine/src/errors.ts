import { CodedError } from "@exai/base";

/**
 * `refused-image`: a file of the image is not what its manifest says. `unsupported`: this driver or host can't do
 * what was asked. `monitor`: the VMM's control socket is gone or broke its protocol. `host`: a call of the node agent
 * failed. `exec`: a program could not be run.
 */
export type MachineErrorCode = "refused-image" | "unsupported" | "monitor" | "host" | "exec";

export class MachineError extends CodedError<MachineErrorCode> {}
