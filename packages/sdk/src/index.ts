/** A tenant's typed access to its workspaces. Start with `Client.open`. */
export { Client, type ClientOptions, type NewWorkspace, type Workspaces, workspaceDefaults } from "./client.ts";
export { SdkError, type SdkErrorCode } from "./errors.ts";
export type { SealedRecord } from "./events.ts";
export type { FileEntry } from "./files/entry.ts";
export type { Content, CopyOptions, FileOptions, Files, WatchedChange, WriteOptions } from "./files/files.ts";
export type { Forward, ForwardOptions } from "./forward.ts";
export type { AttachOptions, Execution, OutputSink } from "./process/execution.ts";
export type { ProcessEntry } from "./process/list.ts";
export type { ExecOptions } from "./process/options.ts";
export type { RunOptions, RunResult } from "./process/run.ts";
export { type ExitStatus, shellCode, signalNumber } from "./process/status.ts";
export {
  defaultHome,
  findProfile,
  type LoadedProfile,
  loadLogKey,
  loadProfile,
  type ProfileChoice,
} from "./profile.ts";
export { Signer } from "./tokens.ts";
export type { TreeProgress } from "./tree/pack.ts";
export type { WaitOptions, Workspace, WorkspaceParts } from "./workspace.ts";
