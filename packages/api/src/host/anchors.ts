import { z } from "zod";
import { hostId, tenantId } from "../ids.ts";

/**
 * Trust anchors. They reach a host by enrolment (a person, a file), never through the control plane.
 * Keys are raw public keys, base64url without padding: 32 bytes, Ed25519 (RFC 8032) or X25519 (RFC 7748).
 */
const publicKey = z.string().regex(/^[\w-]{43}$/, "a public key is 32 bytes in base64url");

export const absolutePath = z.string().regex(/^\/[^\0\n]{0,4095}$/, "a path must be absolute");

/** A tenant's name becomes part of file names on its host, so every reader of an anchor refuses anything else. */
export const tenantName = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    "a tenant's name holds 1 to 63 of a-z, 0-9 and -, and starts and ends with a letter or digit",
  );

export const tenantAnchor = z.strictObject({
  tenant: tenantId,
  name: tenantName,
  /** Ed25519: intents and tokens are signed with it. */
  signingKey: publicKey,
  /** X25519: audit events are sealed to it. */
  logKey: publicKey,
});
export type TenantAnchor = z.infer<typeof tenantAnchor>;

export const hostAnchor = z.strictObject({
  host: hostId,
  /** Ed25519. */
  key: publicKey,
  /** PEM of the host's own CA certificate, made with that key; clients pin it. */
  caCertificate: z.string().max(8192),
});
export type HostAnchor = z.infer<typeof hostAnchor>;

/** The tenant's own file (0600, next to its keys): how to reach a stack and what to trust of it. */
export const clientProfile = z.strictObject({
  version: z.literal(1),
  tenant: tenantId,
  /** `unix:/path` or `https://host:port`. */
  control: z.string().max(300),
  hosts: z.array(hostAnchor).min(1).max(1000),
  /** Folder of the image store whose index maps names to digests. */
  imageStore: z.string().max(4096),
  /** Files of the keys, relative to the profile: PKCS #8 PEM. */
  signingKeyFile: z.string().max(255),
  logKeyFile: z.string().max(255),
});
export type ClientProfile = z.infer<typeof clientProfile>;
