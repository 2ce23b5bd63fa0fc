import { checkServerIdentity } from "node:tls";
import { Http2SessionManager } from "@connectrpc/connect-node";
import type { HostAnchor } from "@exai/api/host";
import type { TenantId } from "@exai/base";

/** Stream window, bytes: enough for four frames in flight; a connection's own window stays at the default. */
const streamWindowBytes = 1 << 20;

/** The name in the certificate of one tenant's channel on one host; it is never resolved. */
export const channelName = (tenant: TenantId, host: string): string => `${tenant}.${host}.exai.internal`;

/**
 * A connection to one tenant's channel on one host. The URL comes from the control plane, which is not trusted: what
 * counts is that the certificate chains to the host's own CA from the profile and names this tenant on this host.
 */
export function connectChannel(url: string, tenant: TenantId, anchor: HostAnchor): Http2SessionManager {
  const name = channelName(tenant, anchor.host);
  return new Http2SessionManager(
    url,
    { pingIntervalMs: 15_000, pingTimeoutMs: 10_000, idleConnectionTimeoutMs: 600_000 },
    {
      ca: anchor.caCertificate,
      servername: name,
      checkServerIdentity: (_address, certificate) => checkServerIdentity(name, certificate),
      minVersion: "TLSv1.3",
      settings: { initialWindowSize: streamWindowBytes, enablePush: false },
    },
  );
}
