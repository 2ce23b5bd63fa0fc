import { toSdkError } from "../data/errors.ts";
import type { DataPlane } from "../data/plane.ts";
import { type ExitStatus, exitStatus } from "./status.ts";

export interface ProcessEntry {
  /** The guest's id of it, for `attach`. */
  readonly id: bigint;
  readonly pid: number;
  readonly argv: readonly string[];
  readonly user: string;
  readonly tag: string;
  readonly terminal: boolean;
  /** Clients that are attached now. */
  readonly attached: number;
  readonly startedAt: Date;
  readonly exited: ExitStatus | undefined;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
}

export async function listProcesses(plane: DataPlane): Promise<ProcessEntry[]> {
  try {
    const { processes } = await plane.processes.list({});
    return processes.map((each) => ({
      id: each.process,
      pid: each.pid,
      argv: each.argv.map((argument) => Buffer.from(argument).toString("utf8")),
      user: each.user,
      tag: each.tag,
      terminal: each.terminal,
      attached: each.attached,
      startedAt: new Date(Number(each.startedUnixMs)),
      exited: each.exited === undefined ? undefined : exitStatus(each.exited),
      stdoutBytes: Number(each.stdoutBytes),
      stderrBytes: Number(each.stderrBytes),
    }));
  } catch (error) {
    throw toSdkError(error, "the processes can't be listed");
  }
}
