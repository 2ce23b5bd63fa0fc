import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import { checkServerIdentity } from "node:tls";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { type DataScope, dataScopes } from "@exai/api";
import type { WorkspaceId } from "@exai/base";
import { type Client, Signer } from "@exai/sdk";

export interface RawPlane extends Disposable {
  readonly transport: Transport;
}

export interface RawPlaneOptions {
  /** The channel's address. */
  readonly endpoint: { readonly host: string; readonly url: string };
  /** Whose token: the client's own tenant signs it. */
  readonly client: Client;
  readonly workspace: WorkspaceId;
  readonly scope?: readonly DataScope[];
  /** The tenant in the server's certificate, when it is another one's channel. */
  readonly serverTenant?: string;
}

/** As wide as the SDK's, or a stream without any of its code would be the slower one. */
class WideSessions extends Http2SessionManager {
  override async request(...args: Parameters<Http2SessionManager["request"]>): Promise<ClientHttp2Stream> {
    const stream = await super.request(...args);
    (stream.session as ClientHttp2Session | undefined)?.setLocalWindowSize(8 << 20);
    return stream;
  }
}

/** A data-plane client below the SDK: for what the SDK would never send, and for a stream without any of its code. */
export function rawPlane({ endpoint, client, workspace, scope, serverTenant }: RawPlaneOptions): RawPlane {
  const { profile, signingKey, publicKey } = client.loaded;
  const anchor = profile.hosts.find(({ host }) => host === endpoint.host);
  if (anchor === undefined) throw new Error(`the profile does not know the host ${endpoint.host}`);
  const name = `${serverTenant ?? profile.tenant}.${anchor.host}.exai.internal`;
  const signer = new Signer({ tenant: profile.tenant, signingKey, publicKey, actor: "raw" });
  const scopes = scope ?? dataScopes.filter((each) => each !== "events");
  const token = signer.mintDataToken(anchor.host, workspace, scopes, 600);
  const sessionManager = new WideSessions(
    endpoint.url,
    {},
    {
      ca: anchor.caCertificate,
      servername: name,
      checkServerIdentity: (_address, certificate) => checkServerIdentity(name, certificate),
      settings: { initialWindowSize: 1 << 20, enablePush: false },
    },
  );
  const transport = createGrpcTransport({
    baseUrl: endpoint.url,
    sessionManager,
    acceptCompression: [],
    interceptors: [
      (next) => (request) => {
        request.header.set("authorization", `Bearer ${token}`);
        return next(request);
      },
    ],
  });
  return { transport, [Symbol.dispose]: () => sessionManager.abort() };
}
