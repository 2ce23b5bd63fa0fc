import { z } from "zod";
import { hostId, sha256Hex, tenantId, timestamp, workspaceId } from "./ids.ts";
import { limits } from "./limits.ts";

/**
 * What a tenant signs with its own key: compact JWS (RFC 7515), `alg` EdDSA (RFC 8037). Each kind has its own `typ`
 * and audience, so that none can pass for another (RFC 8725 section 3.11).
 */
export const jwsTypes = {
  intent: "exai-intent+jwt",
  data: "exai-data+jwt",
  control: "exai-control+jwt",
} as const;

export const audiences = {
  /** Any enrolled host of the tenant. */
  intent: "exai-host",
  /** Followed by `:<host id>`; a token for one host's channel is of no use at another. */
  data: "exai-channel",
  control: "exai-control",
} as const;

/** Letters, digits, `-`, `_`, `.`; starts and ends with a letter or digit; a label's value may be empty. */
const labelText = z
  .string()
  .regex(/^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/, "a label holds at most 63 of A-Z a-z 0-9 . _ -");
export const workspaceName = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    "a name holds 1 to 63 of a-z 0-9 and - and starts and ends with a letter or digit",
  );

export const labels = z
  .record(labelText.min(1), labelText)
  .refine((all) => Object.keys(all).length <= limits.labels, `at most ${limits.labels} labels`);

/** What a workspace is; signed at creation and never changed. */
export const workspaceSpec = z.strictObject({
  /** Digest of the image's manifest; a name never reaches a host. */
  image: sha256Hex,
  cpus: z.int().min(limits.cpus.min).max(limits.cpus.max),
  memoryMib: z.int().min(limits.memoryMib.min).max(limits.memoryMib.max),
  diskMib: z.int().min(limits.diskMib.min).max(limits.diskMib.max),
  /** The tenant's consent to destroy without a further signature, this long after creation. 0: none. */
  ttlSeconds: z.int().min(limits.ttlSeconds.min).max(limits.ttlSeconds.max),
  name: workspaceName.optional(),
  labels,
});
export type WorkspaceSpec = z.infer<typeof workspaceSpec>;

const intentBase = {
  iss: tenantId,
  aud: z.literal(audiences.intent),
  sub: workspaceId,
  iat: timestamp,
  /** A host takes the intent only before this time. */
  exp: timestamp,
  jti: z.string().min(8).max(64),
  /** Rises with every intent for one workspace (milliseconds since the epoch will do); an older one is refused. */
  serial: timestamp,
  /** Who asked, for the audit log. */
  actor: z.string().min(1).max(128),
};

export const intentClaims = z.discriminatedUnion("act", [
  z.strictObject({ ...intentBase, act: z.literal("create"), spec: workspaceSpec }),
  z.strictObject({ ...intentBase, act: z.literal("start") }),
  z.strictObject({ ...intentBase, act: z.literal("stop") }),
  z.strictObject({ ...intentBase, act: z.literal("destroy") }),
]);
export type IntentClaims = z.infer<typeof intentClaims>;

export const dataScopes = ["process", "files", "ports", "console", "metrics", "events"] as const;
export type DataScope = (typeof dataScopes)[number];

export const dataClaims = z.strictObject({
  iss: tenantId,
  /** `exai-channel:<host id>`. */
  aud: z.string().max(64),
  /** The principal, for the audit log. */
  sub: z.string().min(1).max(128),
  /** The one workspace; absent only for a token whose single scope is `events`. */
  workspace: workspaceId.optional(),
  scope: z.array(z.enum(dataScopes)).min(1).max(dataScopes.length),
  iat: timestamp,
  exp: timestamp,
  jti: z.string().min(8).max(64),
});
export type DataClaims = z.infer<typeof dataClaims>;

/** Longest life of a data-plane token, seconds. A stream that began in time may go on. */
export const maxDataTokenSeconds = 3600;

/** A caller of the control plane: a tenant's client, or a host (`iss` is then its id, signed by its host key). */
export const controlClaims = z.strictObject({
  iss: z.union([tenantId, hostId]),
  aud: z.literal(audiences.control),
  sub: z.string().min(1).max(128),
  role: z.enum(["tenant", "host"]),
  iat: timestamp,
  exp: timestamp,
  jti: z.string().min(8).max(64),
});
export type ControlClaims = z.infer<typeof controlClaims>;
