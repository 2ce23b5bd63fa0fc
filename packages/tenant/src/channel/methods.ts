import type { DescMessage, DescMethod, MessageShape } from "@bufbuild/protobuf";
import type { DataScope } from "@exai/api";
import { Workspace, WorkspaceFiles, WorkspacePorts, WorkspaceProcesses } from "@exai/api/workspace";
import type { EventAction, EventDetail } from "@exai/audit";
import { argvDetail, pathText } from "./detail.ts";

/** What an event says of a call, besides who and when. Never environment values, input, output or content. */
export interface Subject {
  readonly target: string;
  readonly detail?: EventDetail;
}

/**
 * - `grant`: the call waits until its event is durable, and is refused without it.
 * - `once`: the same for the first call of a caller on a target; later ones are not witnessed again.
 * - `contain`: the call never waits for its event.
 * - `none`: it shows and changes nothing of the tenant's.
 */
export type Witness = "grant" | "once" | "contain" | "none";

export interface MethodRule {
  readonly method: DescMethod;
  readonly scope: DataScope;
  readonly witness: Witness;
  readonly action: EventAction | undefined;
  /** From the request, or from the first message of a stream. */
  readonly subject: (request: never) => Subject;
}

type Subjects<I extends DescMessage> = (request: MessageShape<I>) => Subject;

function rule<I extends DescMessage>(
  method: DescMethod & { input: I },
  scope: DataScope,
  witness: Exclude<Witness, "none">,
  action: EventAction,
  subject: Subjects<I>,
): MethodRule {
  return { method, scope, witness, action, subject };
}

const silent = (method: DescMethod, scope: DataScope): MethodRule => ({
  method,
  scope,
  witness: "none",
  action: undefined,
  subject: () => ({ target: "" }),
});

const processTarget = (request: { process: bigint }): Subject => ({ target: String(request.process) });
const pathTarget = (request: { path: Uint8Array; context?: { user: string } | undefined }): Subject => ({
  target: pathText(request.path),
  ...user(request.context),
});
const user = (context: { user: string } | undefined): { detail?: EventDetail } =>
  context === undefined || context.user === "" ? {} : { detail: { user: context.user } };

const p = WorkspaceProcesses.method;
const f = WorkspaceFiles.method;

/** Every method of the data plane: which scope it needs and how it is witnessed. A method without a rule is not served. */
export const methodRules: readonly MethodRule[] = [
  silent(Workspace.method.ready, "process"),
  silent(Workspace.method.metrics, "metrics"),
  rule(Workspace.method.console, "console", "grant", "console.read", ({ follow }) => ({
    target: "console",
    detail: { follow },
  })),
  rule(Workspace.method.events, "events", "grant", "events.read", ({ follow, last }) => ({
    target: "events",
    detail: { follow, last },
  })),

  rule(p.start, "process", "grant", "process.start", argvDetail),
  rule(p.run, "process", "grant", "process.start", argvDetail),
  rule(p.attach, "process", "grant", "process.attach", processTarget),
  rule(p.list, "process", "grant", "process.list", () => ({ target: "" })),
  rule(p.sendInput, "process", "once", "process.input", processTarget),
  rule(p.detach, "process", "contain", "process.detach", processTarget),
  rule(p.signal, "process", "contain", "process.signal", ({ process, signal, group }) => ({
    target: String(process),
    detail: { signal, group },
  })),
  silent(p.closeStdin, "process"),
  silent(p.resize, "process"),
  silent(p.wait, "process"),

  rule(f.stat, "files", "grant", "file.stat", pathTarget),
  rule(f.list, "files", "grant", "file.list", pathTarget),
  rule(f.read, "files", "grant", "file.read", pathTarget),
  rule(f.readTree, "files", "grant", "file.read", (request) => {
    const { target, detail } = pathTarget(request);
    return { target, detail: { ...detail, tree: true } };
  }),
  rule(f.write, "files", "grant", "file.write", ({ frame }) =>
    frame.case === "open" ? pathTarget(frame.value) : { target: "" },
  ),
  rule(f.writeTree, "files", "grant", "file.write", ({ frame }) => {
    const { target, detail } = frame.case === "root" ? pathTarget(frame.value) : { target: "" };
    return { target, detail: { ...detail, tree: true } };
  }),
  rule(f.mkdir, "files", "grant", "file.mkdir", pathTarget),
  rule(f.rename, "files", "grant", "file.rename", ({ from, to, context }) => ({
    target: pathText(from),
    detail: { ...user(context).detail, to: pathText(to) },
  })),
  rule(f.remove, "files", "grant", "file.remove", (request) => {
    const { target, detail } = pathTarget(request);
    return { target, detail: { ...detail, recursive: request.recursive } };
  }),
  rule(f.watch, "files", "grant", "file.watch", pathTarget),
  rule(f.getXattr, "files", "grant", "file.attributes", pathTarget),
  rule(f.setXattr, "files", "grant", "file.attributes", (request) => {
    const { target, detail } = pathTarget(request);
    return { target, detail: { ...detail, set: request.name.slice(0, 255), remove: request.remove } };
  }),

  rule(WorkspacePorts.method.connect, "ports", "grant", "port.connect", ({ frame }) => ({
    target: frame.case === "connect" ? String(frame.value.port) : "",
  })),
];

export const servedServices = [Workspace, WorkspaceProcesses, WorkspaceFiles, WorkspacePorts] as const;

const byMethod = new Map(methodRules.map((each) => [each.method, each]));

/** undefined for a method that was forgotten in the table: it must be refused. */
export const ruleOf = (method: DescMethod): MethodRule | undefined => byMethod.get(method);
