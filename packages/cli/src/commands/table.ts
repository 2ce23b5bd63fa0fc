import type { Register } from "./common.ts";

export interface CommandEntry {
  readonly names: readonly [string, ...string[]];
  readonly summary: string;
  /** Exit code when the command line is wrong, or exai itself fails. */
  readonly usageCode: number;
  readonly failureCode: number;
  readonly load: () => Promise<{ register: Register }>;
}

const entry = (
  names: readonly [string, ...string[]],
  summary: string,
  load: CommandEntry["load"],
  code?: number,
): CommandEntry => ({
  names,
  summary,
  usageCode: code ?? 2,
  failureCode: code ?? 1,
  load,
});

const exec = () => import("./exec.ts");
const operator = () => import("./operator.ts");

/** All commands. Each is loaded only when it is called: a start reads no more than it needs. */
export const commands: readonly CommandEntry[] = [
  entry(["run"], "run one command in a workspace of its own", () => import("./run.ts"), 125),
  entry(
    ["workspace", "ws"],
    "create, list, inspect, stop, start and remove workspaces",
    () => import("./workspace.ts"),
  ),
  entry(["exec"], "run a command in a workspace", exec, 125),
  entry(["shell"], "open a shell in a workspace", exec, 125),
  entry(["ps"], "list the programs of a workspace", () => import("./ps.ts")),
  entry(["attach"], "attach to a program again", () => import("./attach.ts"), 125),
  entry(["cp"], "copy files and folders to and from a workspace", () => import("./cp.ts")),
  entry(["forward"], "open a TCP port of a workspace on this machine", () => import("./forward.ts")),
  entry(["events"], "show what happened", () => import("./events.ts")),
  entry(["image"], "list images", () => import("./image.ts")),
  entry(["up"], "start a stack on this machine", operator),
  entry(["down"], "stop the stack", operator),
  entry(["status"], "show the stack, and what it does not protect", operator),
  entry(["doctor"], "check whether this host can run exai", operator),
  entry(["tenant"], "enrol and list tenants", operator),
  entry(["version"], "print the version", () => import("./version.ts")),
];
