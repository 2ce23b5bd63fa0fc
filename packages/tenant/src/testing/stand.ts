import { generateKeyPairSync, type KeyObject, randomUUID, sign } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkServerIdentity } from "node:tls";
import { createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { audiences, type DataScope, dataScopes, jwsTypes } from "@exai/api";
import type { ChannelConfig } from "@exai/api/host";
import { Workspace, WorkspaceFiles, WorkspacePorts, WorkspaceProcesses } from "@exai/api/workspace";
import { createLogger, newHostId, newTenantId, newWorkspaceId, type TenantId, type WorkspaceId } from "@exai/base";
import { type Channel, startChannel } from "../channel/channel.ts";
import { makeTestCertificates } from "./certificates.ts";
import { GuestDouble } from "./guest-double.ts";

export interface TokenOptions {
  scope?: readonly DataScope[];
  workspace?: WorkspaceId | undefined;
  claims?: object;
  key?: KeyObject;
}

/** For tests only: one tenant's channel in a folder of its own, its guests (doubles), and its client. */
export class Stand implements AsyncDisposable {
  readonly folder: string;
  readonly config: ChannelConfig;
  readonly ca: string;
  readonly name: string;
  readonly tenant: TenantId = newTenantId();
  readonly logKey: KeyObject;
  readonly signingKey: KeyObject;
  readonly logLines: string[] = [];
  readonly #disposables = new AsyncDisposableStack();
  channel: Channel | undefined;

  private constructor(
    folder: string,
    config: ChannelConfig,
    keys: { ca: string; name: string; log: KeyObject; signing: KeyObject },
  ) {
    this.folder = folder;
    this.config = config;
    this.tenant = config.tenant.tenant;
    this.ca = keys.ca;
    this.name = keys.name;
    this.logKey = keys.log;
    this.signingKey = keys.signing;
  }

  /** @param spoolFolder another place for the spool, for tests of a full disk */
  static async make(options: { spoolFolder?: string; spoolQuotaBytes?: number } = {}): Promise<Stand> {
    const folder = mkdtempSync(join(tmpdir(), "exai-channel-"));
    const spoolFolder = options.spoolFolder ?? join(folder, "spool");
    for (const each of [
      join(folder, "vm"),
      join(folder, "admin"),
      join(spoolFolder, "channel"),
      join(spoolFolder, "broker"),
    ]) {
      mkdirSync(each, { recursive: true });
    }
    const tenant = newTenantId();
    const host = newHostId();
    const name = `${tenant}.${host}.exai.internal`;
    const { ca, certificate, privateKey } = await makeTestCertificates(name);
    const log = generateKeyPairSync("x25519");
    const signing = generateKeyPairSync("ed25519");
    const raw = (key: KeyObject): string =>
      key.export({ format: "der", type: "spki" }).subarray(12).toString("base64url");
    const config: ChannelConfig = {
      host,
      tenant: { tenant, name: "acme", signingKey: raw(signing.publicKey), logKey: raw(log.publicKey) },
      certificate,
      privateKey,
      runFolder: folder,
      adminSocket: join(folder, "admin", "channel.sock"),
      adminGid: process.getgid?.() ?? 0,
      spoolFolder,
      spoolQuotaBytes: options.spoolQuotaBytes ?? 64 << 20,
      listen: { address: "127.0.0.1", port: 0 },
    };
    return new Stand(folder, config, { ca, name, log: log.privateKey, signing: signing.privateKey });
  }

  async start(): Promise<this> {
    const logger = createLogger({ process: "channel", write: (line) => void this.logLines.push(line) });
    const channel = await startChannel(this.config, { logger });
    this.channel = channel;
    this.#disposables.use(channel);
    return this;
  }

  get url(): string {
    return this.channel?.url ?? "";
  }

  /** A running workspace whose guest is a double. */
  async guest(workspace: WorkspaceId = newWorkspaceId()): Promise<{ workspace: WorkspaceId; double: GuestDouble }> {
    mkdirSync(join(this.folder, "vm", workspace), { recursive: true });
    const double = new GuestDouble(join(this.folder, "vm", workspace, "guest.sock"));
    this.#disposables.use(double);
    return { workspace, double: await double.listen() };
  }

  token({ scope = dataScopes, workspace, claims = {}, key = this.signingKey }: TokenOptions): string {
    const now = Math.floor(Date.now() / 1000);
    const body = {
      iss: this.tenant,
      aud: `${audiences.data}:${this.config.host}`,
      sub: "tester",
      ...(workspace === undefined ? {} : { workspace }),
      scope,
      iat: now,
      exp: now + 300,
      jti: randomUUID(),
      ...claims,
    };
    const text = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const input = `${text({ alg: "EdDSA", typ: jwsTypes.data })}.${text(body)}`;
    return `${input}.${sign(null, Buffer.from(input), key).toString("base64url")}`;
  }

  /** @param options.url of a channel that was started elsewhere with this one's configuration */
  transport(token: string | undefined, options: { manager?: Http2SessionManager; url?: string } = {}): Transport {
    const { url = this.url } = options;
    const manager = options.manager ?? this.manager(url);
    const bearer: Interceptor = (next) => (request) => {
      if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
      return next(request);
    };
    return createGrpcTransport({
      baseUrl: url,
      sessionManager: manager,
      interceptors: [bearer],
      acceptCompression: [],
      readMaxBytes: (1 << 20) + 4096,
    });
  }

  manager(url = this.url): Http2SessionManager {
    const manager = new Http2SessionManager(
      url,
      {},
      {
        ca: this.ca,
        servername: this.name,
        checkServerIdentity: (_address, certificate) => checkServerIdentity(this.name, certificate),
        settings: { initialWindowSize: 1 << 20, enablePush: false },
      },
    );
    this.#disposables.defer(() => manager.abort());
    return manager;
  }

  client(workspace: WorkspaceId | undefined, options: Omit<TokenOptions, "workspace"> & { url?: string } = {}) {
    const { url = this.url, ...token } = options;
    const transport = this.transport(this.token({ ...token, workspace }), { url });
    return {
      workspace: createClient(Workspace, transport),
      processes: createClient(WorkspaceProcesses, transport),
      files: createClient(WorkspaceFiles, transport),
      ports: createClient(WorkspacePorts, transport),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#disposables.disposeAsync();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
