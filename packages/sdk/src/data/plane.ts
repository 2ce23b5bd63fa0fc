import type { Client, Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, type Http2SessionManager } from "@connectrpc/connect-node";
import { type DataScope, dataScopes } from "@exai/api";
import type { HostAnchor } from "@exai/api/host";
import { Workspace, WorkspaceFiles, WorkspacePorts, WorkspaceProcesses } from "@exai/api/workspace";
import type { TenantId, WorkspaceId } from "@exai/base";
import { SdkError } from "../errors.ts";
import type { Signer } from "../tokens.ts";
import { connectChannel } from "./connection.ts";
import { createLeavingClient } from "./leaving.ts";

const tokenSeconds = 600;
/** Bytes of one message, as the contract has it, and a little for its envelope. */
const longestMessage = (1 << 20) + 4096;

/** The data plane's four services for one workspace, with the tenant's own tokens. */
export interface DataPlane {
  readonly workspace: Client<typeof Workspace>;
  readonly processes: Client<typeof WorkspaceProcesses>;
  readonly files: Client<typeof WorkspaceFiles>;
  readonly ports: Client<typeof WorkspacePorts>;
  /** False once its last connection failed: the channel may have come back at another address. */
  isHealthy(): boolean;
}

/** Gives the data plane as it is now; after a failure it asks for the address again. */
export type PlaneSource = () => Promise<DataPlane>;

/** Connections to channels, one for each host and address, shared by all workspaces there. */
export class DataPlanes implements Disposable {
  readonly #tenant: TenantId;
  readonly #hosts: ReadonlyMap<string, HostAnchor>;
  readonly #signer: Signer;
  readonly #sessions = new Map<string, Http2SessionManager>();

  constructor(tenant: TenantId, hosts: readonly HostAnchor[], signer: Signer) {
    this.#tenant = tenant;
    this.#hosts = new Map(hosts.map((host) => [host.host, host]));
    this.#signer = signer;
  }

  /** @throws SdkError `forged` for a host that the profile does not know */
  open(endpoint: { host: string; url: string }, workspace: WorkspaceId | undefined): DataPlane {
    const anchor = this.#hosts.get(endpoint.host);
    if (anchor === undefined) {
      throw new SdkError("forged", `the host ${endpoint.host} is not in the profile; enrol it before you use it`);
    }
    const key = `${endpoint.host} ${endpoint.url}`;
    const session = this.#sessions.get(key) ?? connectChannel(endpoint.url, this.#tenant, anchor);
    this.#sessions.set(key, session);
    void session.connect(); // the handshake goes on while the caller prepares its call; an error comes with the call
    const scope: readonly DataScope[] = dataScopes.filter((each) => each !== "events");
    const token = cachedToken(() => this.#signer.mintDataToken(anchor.host, workspace, scope, tokenSeconds));
    const transport = createGrpcTransport({
      baseUrl: endpoint.url,
      sessionManager: session,
      interceptors: [bearer(token)],
      readMaxBytes: longestMessage,
      acceptCompression: [],
    });
    return {
      workspace: createLeavingClient(Workspace, transport),
      processes: createLeavingClient(WorkspaceProcesses, transport),
      files: createLeavingClient(WorkspaceFiles, transport),
      ports: createLeavingClient(WorkspacePorts, transport),
      isHealthy: () => session.state() !== "error",
    };
  }

  [Symbol.dispose](): void {
    for (const session of this.#sessions.values()) session.abort();
    this.#sessions.clear();
  }
}

const bearer =
  (token: () => string): Interceptor =>
  (next) =>
  (request) => {
    request.header.set("authorization", `Bearer ${token()}`);
    return next(request);
  };

/** A token is used for half its life, so that none expires on its way. */
function cachedToken(mint: () => string): () => string {
  let token = "";
  let until = 0;
  return () => {
    if (performance.now() >= until) {
      token = mint();
      until = performance.now() + tokenSeconds * 500;
    }
    return token;
  };
}
