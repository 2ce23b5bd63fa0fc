import { CodedError } from "@exai/base";

/**
 * `name-taken`: another workspace of this host has the same first 8 characters (or it is another tenant's: the answer
 * is the same). `disk-size`: the workspace has a disk of another size. `broken-state`: a file of the agent's own does
 * not hold what the agent writes. `topology`: the kernel's word on its CPUs makes no sense. The others are those of `nodeContract`.
 */
export type NodeErrorCode =
  | "disk-full"
  | "disk-failed"
  | "disk-size"
  | "uids-exhausted"
  | "name-taken"
  | "not-prepared"
  | "running"
  | "no-blob"
  | "no-vmm"
  | "launch-failed"
  | "no-core"
  | "kill-failed"
  | "netns-failed"
  | "cgroup-failed"
  | "not-running"
  | "no-memory"
  | "volume-failed"
  | "no-snapshot"
  | "snapshot-mismatch"
  | "snapshot-broken"
  | "unsafe-folder"
  | "topology"
  | "broken-state";

export class NodeError extends CodedError<NodeErrorCode> {}
