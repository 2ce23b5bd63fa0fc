import { z } from "zod";
import { hostId, workspaceId } from "../ids.ts";
import { absolutePath, tenantAnchor } from "./anchors.ts";

/** What the broker may ask of a tenant's channel process. It carries no content of the tenant's. */
export const channelContract = {
  /** Answers when the guest has said hello. Codes: `not-ready` after the time, `no-vm`. */
  awaitReady: {
    request: z.strictObject({ workspace: workspaceId, timeoutMs: z.int().min(1).max(600_000) }),
    response: z.strictObject({
      kernelRelease: z.string().max(100),
      agentVersion: z.string().max(100),
      initUs: z.number(),
      readyUs: z.number(),
    }),
  },
  /** Asks the guest to end its processes, sync and power off; answers when the guest has taken the order. */
  shutdown: {
    request: z.strictObject({ workspace: workspaceId, graceMs: z.int().min(0).max(60_000) }),
    response: z.strictObject({}),
  },
  /** Where the data plane listens and the key of its certificate request, for the broker to certify and publish. */
  hello: {
    request: z.strictObject({}),
    response: z.strictObject({ url: z.url().max(200), pid: z.int() }),
  },
} as const;

/**
 * First line on a channel process's standard input. The certificate is signed by the host key and made, with its key,
 * for this one process; neither is stored. The input stays open: its end means that the supervisor is gone.
 */
export const channelConfig = z.strictObject({
  host: hostId,
  tenant: tenantAnchor,
  /** PEM, leaf first. */
  certificate: z.string().max(16_384),
  /** PEM (PKCS #8). */
  privateKey: z.string().max(4096),
  /** `t/<tenant>/` of the run folder: `vm/<workspace>/{guest.sock,console.log}` below it. */
  runFolder: absolutePath,
  /** UNIX socket to serve `channelContract` on, and the group that may connect. */
  adminSocket: absolutePath,
  adminGid: z.int().min(0),
  /** `spool/<tenant>/`: own folder `channel/`, others are read. */
  spoolFolder: absolutePath,
  spoolQuotaBytes: z.int().min(65_536),
  /** Address and port of the data plane; port 0 takes a free one. */
  listen: z.strictObject({ address: z.string().max(64), port: z.int().min(0).max(65_535) }),
});
export type ChannelConfig = z.infer<typeof channelConfig>;
