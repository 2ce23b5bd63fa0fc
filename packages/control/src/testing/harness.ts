/** For tests only: a control plane in this process with one host and two tenants, called over its real socket. */
import { mkdtemp, rm } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { ControlConfig } from "@exai/api/host";
import { type Clock, systemClock } from "@exai/base";
import { TestHost, TestTenant } from "@exai/policy/testing";
import { startControl } from "../server.ts";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly body: any;
}

export interface CallOptions {
  readonly token?: string;
  readonly body?: unknown;
  readonly raw?: string | Buffer;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
}

export class ControlHarness implements AsyncDisposable {
  readonly host = new TestHost();
  readonly otherHost = new TestHost();
  readonly acme = new TestTenant({ name: "acme" });
  readonly globex = new TestTenant({ name: "globex" });
  readonly logged: string[] = [];
  readonly #agent = new Agent({ keepAlive: true });
  readonly folder: string;
  readonly clock: Clock;
  #server: AsyncDisposable | undefined;
  database: ControlConfig["database"];

  private constructor(folder: string, clock: Clock) {
    this.folder = folder;
    this.clock = clock;
    this.database = { kind: "sqlite", file: join(folder, "state.db") };
  }

  static async start(clock: Clock = systemClock): Promise<ControlHarness> {
    const harness = new ControlHarness(await mkdtemp(join(tmpdir(), "exai-control-")), clock);
    await harness.restart();
    return harness;
  }

  get socket(): string {
    return join(this.folder, "c.sock");
  }

  config(): ControlConfig {
    return {
      database: this.database,
      listen: { kind: "unix", path: this.socket },
      tenants: [this.acme.anchor, this.globex.anchor],
      hosts: [this.host.anchor, this.otherHost.anchor],
    };
  }

  async restart(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    const logger = { log: (_level: string, message: string) => void this.logged.push(message) };
    this.#server = await startControl(this.config(), logger, this.clock);
  }

  /** What a damaged disk would do. */
  breakDatabase(): void {
    if (this.database.kind !== "sqlite") throw new Error("only SQLite");
    using db = new DatabaseSync(this.database.file);
    db.exec("alter table workspaces rename to lost");
  }

  call(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const payload = options.raw ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
    const headers: Record<string, string> = {
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...(payload === undefined ? {} : { "content-type": "application/json" }),
      ...options.headers,
    };
    return new Promise((resolve, reject) => {
      const sent = request({ socketPath: this.socket, method, path, headers, agent: this.#agent });
      options.signal?.addEventListener("abort", () => sent.destroy(new Error("aborted")));
      sent.on("error", reject);
      sent.on("response", (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString("utf8");
          const body = text === "" ? undefined : JSON.parse(text);
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
        });
      });
      sent.end(payload);
    });
  }

  as(tenant: TestTenant, method: string, path: string, body?: unknown, headers?: Record<string, string>) {
    return this.call(method, path, {
      token: tenant.controlToken(this.clock.nowMs()),
      ...(body === undefined ? {} : { body }),
      ...(headers === undefined ? {} : { headers }),
    });
  }

  poll(more: object = {}, host: TestHost = this.host): Promise<Answer> {
    const id = host.anchor.host;
    const body = { host: id, version: 0, waitMs: 0, observations: [], endpoints: [], ...more };
    return this.call("POST", `/v1/hosts/${id}/poll`, { token: host.controlToken(this.clock.nowMs()), body });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    await this.#server?.[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}
