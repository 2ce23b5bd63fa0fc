import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import { checkServerIdentity } from "node:tls";
import { Http2SessionManager } from "@connectrpc/connect-node";
import type { HostAnchor } from "@exai/api/host";
import type { TenantId } from "@exai/base";

/** What the host may send ahead of our reader, bytes: on one stream, and on all of a connection. */
const streamWindowBytes = 1 << 20;
const sessionWindowBytes = 8 << 20;

/** Widens each new connection's window, which HTTP/2 starts at 64 KiB: a download would wait at every turn. */
class WideSessions extends Http2SessionManager {
  readonly #widened = new WeakSet<object>();

  override async request(...args: Parameters<Http2SessionManager["request"]>): Promise<ClientHttp2Stream> {
    const stream = await super.request(...args);
    const { session } = stream;
    if (session !== undefined && !this.#widened.has(session)) {
      this.#widened.add(session);
      (session as ClientHttp2Session).setLocalWindowSize(sessionWindowBytes);
    }
    return stream;
  }
}

/** The name in the certificate of one tenant's channel on one host; it is never resolved. */
export const channelName = (tenant: TenantId, host: string): string => `${tenant}.${host}.exai.internal`;

/**
 * A connection to one tenant's channel on one host. The URL comes from the control plane, which is not trusted: what
 * counts is that the certificate chains to the host's own CA from the profile and names this tenant on this host.
 */
export function connectChannel(url: string, tenant: TenantId, anchor: HostAnchor): Http2SessionManager {
  const name = channelName(tenant, anchor.host);
  return new WideSessions(
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
