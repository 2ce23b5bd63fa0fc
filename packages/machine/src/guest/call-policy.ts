import { Files, Machine, Ports, Processes } from "@exai/api/guest";
import type { GuestLimits } from "./limits.ts";

/** What one method's call may take, by the path `/service/method`. */
export interface CallPolicy {
  /** Milliseconds for the whole call. */
  readonly totalMs: number | undefined;
  /** Milliseconds until the response begins. */
  readonly headersMs: number | undefined;
  /** The guest alone decides how fast it takes the request, so a standstill is its fault. */
  readonly uploads: boolean;
  readonly messageBytes: number;
  /** Its answer holds lists, so that its fields are counted before they become objects. */
  readonly lists: boolean;
}

/** Unary calls that last as long as something else does: a process, or the reader of its stdin. */
const open: ReadonlySet<unknown> = new Set([Processes.method.wait, Processes.method.sendInput]);
const lists: ReadonlySet<unknown> = new Set([Processes.method.list, Files.method.getXattr]);

type Kind = "unary" | "open" | "download" | "upload";

interface MethodKind {
  readonly kind: Kind;
  readonly lists: boolean;
}

const methods = new Map<string, MethodKind>();
for (const service of [Processes, Files, Ports, Machine]) {
  for (const method of service.methods) {
    const path = `/${service.typeName}/${method.name}`;
    methods.set(path, { kind: kindOf(method), lists: lists.has(method) });
  }
}

function kindOf(method: { methodKind: string }): Kind {
  if (open.has(method)) return "open";
  if (method.methodKind === "unary") return "unary";
  // An upload's response begins when it ends.
  return method.methodKind === "client_streaming" ? "upload" : "download";
}

export function callPolicy(path: string, limits: GuestLimits): CallPolicy {
  const method = methods.get(path);
  return {
    totalMs: method?.kind === "unary" ? limits.unaryTimeoutMs : undefined,
    headersMs: method?.kind === "download" ? limits.headersTimeoutMs : undefined,
    uploads: method?.kind === "upload",
    messageBytes: method?.lists === true ? limits.listBytes : messageBytes(method?.kind, limits),
    lists: method?.lists ?? false,
  };
}

const messageBytes = (kind: Kind | undefined, limits: GuestLimits): number =>
  kind === "download" ? limits.chunkBytes : limits.answerBytes;
