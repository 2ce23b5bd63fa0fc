import { canonicalBytes, isId, type Json, type WorkspaceId } from "@exai/base";
import { AuditError } from "./errors.ts";

/** Everything that is witnessed. A new action is added here, in docs/internals/audit.md and where it is taken. */
export const eventActions = [
  "workspace.create",
  "workspace.start",
  "workspace.stop",
  "workspace.destroy",
  "workspace.quarantine",
  "workspace.refuse",
  "vm.boot",
  "vm.ready",
  "vm.exit",
  "process.start",
  "process.attach",
  "process.list",
  "process.signal",
  "process.detach",
  "process.input",
  "file.stat",
  "file.list",
  "file.read",
  "file.write",
  "file.mkdir",
  "file.rename",
  "file.remove",
  "file.watch",
  "file.attributes",
  "port.connect",
  "console.read",
  "events.read",
  "token.refuse",
  "spool.open",
  "host.start",
  "host.check",
  "host.stop",
] as const;
export type EventAction = (typeof eventActions)[number];

/** `ok`: allowed, and about to be done. `refused`: not allowed. `failed`: allowed, and it did not work. */
export const eventOutcomes = ["ok", "refused", "failed"] as const;
export type EventOutcome = (typeof eventOutcomes)[number];

export type EventDetail = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export interface AuditEvent {
  /** Milliseconds since the epoch. */
  readonly ts: number;
  /** Who: a token's subject, an intent's actor, or `host`. 1 to 128 characters. */
  readonly actor: string;
  readonly action: EventAction;
  /** What it was done to: a workspace id, a path, a process, a port. At most 4096 characters. */
  readonly target: string;
  readonly workspace?: WorkspaceId;
  readonly outcome: EventOutcome;
  /** Never environment values, input, output or file content. */
  readonly detail?: EventDetail;
}

export const eventLimits = { actor: 128, target: 4096, details: 32, key: 64, list: 4096, bytes: 64 << 10 } as const;

/** The event's canonical JSON. @throws AuditError `invalid-event` */
export function encodeEvent(event: AuditEvent): Buffer {
  const checked = parseEvent(event);
  const bytes = canonicalBytes(checked as unknown as Json);
  if (bytes.length > eventLimits.bytes) throw invalid(`it is longer than ${eventLimits.bytes} bytes`);
  return bytes;
}

/** @throws AuditError `invalid-event` */
export function decodeEvent(bytes: Uint8Array): AuditEvent {
  if (bytes.length > eventLimits.bytes) throw invalid(`it is longer than ${eventLimits.bytes} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (cause) {
    throw new AuditError("invalid-event", "an event must be JSON", { cause });
  }
  return parseEvent(value);
}

const members: ReadonlySet<string> = new Set(["ts", "actor", "action", "target", "workspace", "outcome", "detail"]);

/** @throws AuditError `invalid-event` for anything that is not exactly an event */
export function parseEvent(value: unknown): AuditEvent {
  if (!isRecord(value)) throw invalid("it must be an object");
  for (const key of Object.keys(value)) if (!members.has(key)) throw invalid(`'${key.slice(0, 40)}' is unknown`);
  const { ts, workspace } = value;
  if (typeof ts !== "number" || !Number.isSafeInteger(ts) || ts < 0) throw invalid("ts must be milliseconds");
  if (workspace !== undefined && !(typeof workspace === "string" && isId(workspace))) throw invalid("bad workspace id");
  const detail = value["detail"];
  return {
    ts,
    actor: text("actor", value["actor"], 1, eventLimits.actor),
    action: oneOf("action", value["action"], eventActions),
    target: text("target", value["target"], 0, eventLimits.target),
    ...(workspace === undefined ? {} : { workspace: workspace as WorkspaceId }),
    outcome: oneOf("outcome", value["outcome"], eventOutcomes),
    ...(detail === undefined ? {} : { detail: parseDetail(detail) }),
  };
}

function parseDetail(value: unknown): EventDetail {
  if (!isRecord(value)) throw invalid("detail must be an object");
  const entries = Object.entries(value);
  if (entries.length > eventLimits.details) throw invalid(`detail has more than ${eventLimits.details} members`);
  for (const [key, item] of entries) {
    if (!/^[a-zA-Z][a-zA-Z0-9]*$/.test(key) || key.length > eventLimits.key) throw invalid("a detail's name is odd");
    if (!isDetail(item)) throw invalid(`detail '${key}' must be text, a number, a truth value or a list of texts`);
  }
  return value as EventDetail;
}

function isDetail(value: unknown): boolean {
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value);
  return Array.isArray(value) && value.length <= eventLimits.list && value.every(isWellFormedText);
}

const isWellFormedText = (value: unknown): boolean => typeof value === "string" && value.isWellFormed();

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function text(name: string, value: unknown, least: number, most: number): string {
  if (typeof value !== "string" || value.length < least || value.length > most || !value.isWellFormed()) {
    throw invalid(`${name} must be text of ${least} to ${most} characters`);
  }
  return value;
}

function oneOf<T extends string>(name: string, value: unknown, all: readonly T[]): T {
  const found = all.find((each) => each === value);
  if (found === undefined) throw invalid(`${name} is unknown`);
  return found;
}

const invalid = (why: string): AuditError => new AuditError("invalid-event", `an event is not valid: ${why}`);
