import { type HostId, isId, type LifetimeId, type TenantId, type WorkspaceId } from "@exai/base";
import { z } from "zod";

// The refinement is what earns the brand; `custom` would lose the string's JSON schema.
const id = <T extends string>(what: string) =>
  z.string().refine((text): text is T => isId(text), `${what} must be 20 characters of a-z and 2-7`);

export const workspaceId = id<WorkspaceId>("a workspace id");
export const tenantId = id<TenantId>("a tenant id");
export const hostId = id<HostId>("a host id");
export const lifetimeId = id<LifetimeId>("a lifetime id");

/** SHA-256, lower-case hex. */
export const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/, "a digest must be 64 lower-case hex digits");

/** Seconds or milliseconds since the epoch, as a safe integer. */
export const timestamp = z.int().min(0);
