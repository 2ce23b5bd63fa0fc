import { Files, Machine, Ports, Processes } from "@exai/api/guest";
import type { GuestLimits } from "./limits.ts";

export interface Deadline {
  /** Whole call. */
  readonly totalMs: number | undefined;
  /** Until the response begins. */
  readonly headersMs: number | undefined;
  /** The guest alone decides how fast it takes the request, so a standstill is its fault. */
  readonly uploads: boolean;
}

/** Unary calls that last as long as something else does: a process, or the reader of its stdin. */
const open: ReadonlySet<unknown> = new Set([Processes.method.wait, Processes.method.sendInput]);

type Kind = "unary" | "open" | "download" | "upload";

const kinds = new Map<string, Kind>();
for (const service of [Processes, Files, Ports, Machine]) {
  for (const method of service.methods) {
    const path = `/${service.typeName}/${method.name}`;
    if (open.has(method)) kinds.set(path, "open");
    else if (method.methodKind === "unary") kinds.set(path, "unary");
    // An upload's response begins when it ends.
    else kinds.set(path, method.methodKind === "client_streaming" ? "upload" : "download");
  }
}

/** Which time limits a call has, by its path `/service/method`. */
export function deadlineOf(path: string, limits: GuestLimits | undefined): Deadline {
  const kind = kinds.get(path);
  return {
    totalMs: kind === "unary" ? limits?.unaryTimeoutMs : undefined,
    headersMs: kind === "download" ? limits?.headersTimeoutMs : undefined,
    uploads: kind === "upload",
  };
}
