import { z } from "zod";
import { labels, workspaceName } from "./claims.ts";
import { hostId, lifetimeId, sha256Hex, tenantId, timestamp, workspaceId } from "./ids.ts";
import { limits } from "./limits.ts";

/** A signed intent as it travels; the control plane stores it and cannot make one. */
export const signedIntent = z
  .string()
  .max(limits.jwsBytes)
  .regex(/^[\w-]+\.[\w-]+\.[\w-]+$/, "an intent is a compact JWS");

export const createWorkspaceRequest = z.strictObject({ intent: signedIntent });
export const intentRequest = z.strictObject({ intent: signedIntent });

/** What the host last said of a workspace. `unknown` until a host has spoken. */
export const observedPhase = z.enum([
  "unknown",
  "refused",
  "created",
  "booting",
  "running",
  "stopping",
  "stopped",
  "failed",
  "destroying",
  "destroyed",
  "quarantined",
]);
export type ObservedPhase = z.infer<typeof observedPhase>;

export const timings = z.strictObject({
  admitMs: z.number().min(0).optional(),
  bootMs: z.number().min(0).optional(),
  readyMs: z.number().min(0).optional(),
  destroyMs: z.number().min(0).optional(),
});
export type Timings = z.infer<typeof timings>;

export const observation = z.strictObject({
  workspace: workspaceId,
  phase: observedPhase,
  /** One sentence when it was refused, failed or quarantined. */
  message: z.string().max(500).optional(),
  lifetime: lifetimeId.optional(),
  vmm: z.enum(["qemu", "firecracker"]).optional(),
  accelerator: z.enum(["kvm", "tcg"]).optional(),
  /** `exai` or `stock`, with its release. */
  kernel: z.string().max(100).optional(),
  /** Serial of the last intent that the host took. */
  serial: timestamp,
  timings: timings.optional(),
  /** What the host could not enforce (cgroup limits on a v1 host, a core floor): shown, never hidden. */
  notEnforced: z.array(z.string().max(100)).max(16),
});
export type Observation = z.infer<typeof observation>;

export const endpoint = z.strictObject({
  host: hostId,
  /** `https://127.0.0.1:port` of the tenant's channel; the client pins the host's key, so a wrong one is useless. */
  url: z.url({ protocol: /^https$/ }).max(200),
});
export type Endpoint = z.infer<typeof endpoint>;

export const workspace = z.strictObject({
  id: workspaceId,
  tenant: tenantId,
  name: workspaceName.optional(),
  labels,
  image: sha256Hex,
  cpus: z.int(),
  memoryMib: z.int(),
  diskMib: z.int(),
  ttlSeconds: z.int(),
  createdAt: z.iso.datetime(),
  desired: z.enum(["running", "stopped", "destroyed"]),
  /** The creation intent, so that a client can check name and labels under its own signature. */
  intent: signedIntent,
  observed: observation.optional(),
  endpoint: endpoint.optional(),
  /** Rises with each change of this record; `waitAfter` waits for a higher one. */
  revision: z.int().min(1),
});
export type Workspace = z.infer<typeof workspace>;

export const workspaceList = z.strictObject({ items: z.array(workspace), nextCursor: z.string().max(200).optional() });

/** RFC 9457. `code` is stable, `detail` one sentence that says what to do. */
export const problem = z.looseObject({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string().optional(),
  code: z.string(),
});
export type Problem = z.infer<typeof problem>;

// ---- the host's side: one outbound long poll

export const pollRequest = z.strictObject({
  host: hostId,
  /** Version of the desired state that the host has; the answer waits until it differs, at most `waitMs`. */
  version: z.int().min(0),
  waitMs: z.int().min(0).max(60_000),
  observations: z.array(observation).max(1000),
  endpoints: z.array(z.strictObject({ tenant: tenantId, url: endpoint.shape.url })).max(1000),
});
export type PollRequest = z.infer<typeof pollRequest>;

export const desiredWorkspace = z.strictObject({
  workspace: workspaceId,
  tenant: tenantId,
  /** All intents in order of serial, creation first. */
  intents: z.array(signedIntent).min(1).max(64),
  /** The control plane's own wish to stop, without a signature: stopping is the one thing that it may do. */
  halt: z.boolean(),
});
export type DesiredWorkspace = z.infer<typeof desiredWorkspace>;

export const pollResponse = z.strictObject({
  version: z.int().min(0),
  /**
   * Every workspace of this host, not only what changed: what is missing is quarantined, never collected. The whole list
   * is left out when the request came to report (`waitMs` 0) and its version is still the newest.
   */
  desired: z.array(desiredWorkspace).max(10_000).optional(),
});
export type PollResponse = z.infer<typeof pollResponse>;
