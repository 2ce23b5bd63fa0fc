import type { KeyObject } from "node:crypto";
import { createServer, type IncomingMessage, type Server } from "node:http";
import {
  audiences,
  controlClaims,
  createWorkspaceRequest,
  type IntentClaims,
  intentClaims,
  intentRequest,
  jwsTypes,
  type ObservedPhase,
  type Workspace,
  workspace as workspaceSchema,
} from "@exai/api";
import type { HostId } from "@exai/base";
import { compactVerify, jwtVerify } from "jose";

class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, detail: string) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/**
 * A strict double of the control plane and the host's broker behind it: it checks every token and intent with another
 * library (jose), and answers what the contract says. Workspaces "boot" at once unless told otherwise.
 */
export class ControlDouble implements AsyncDisposable {
  readonly records = new Map<string, Workspace>();
  readonly #server: Server;
  readonly #answers = new Map<string, Workspace>();
  readonly #waiters = new Set<() => void>();
  readonly #key: KeyObject;
  readonly host: HostId;
  /** Where a new workspace's data plane is. */
  url = "https://127.0.0.1:1";
  /** What becomes of a new workspace. */
  boot: { phase: ObservedPhase; message?: string; afterMs: number } = { phase: "running", afterMs: 0 };
  /** Changes an answer on its way out: a control plane that lies. */
  lie: (record: Workspace) => Workspace = (record) => record;
  /** A creation is stored at once, and answered after this. */
  creationAnswers: Promise<void> | undefined;
  onPhase: (id: string, phase: ObservedPhase) => void = () => undefined;

  constructor(host: HostId, key: KeyObject) {
    this.host = host;
    this.#key = key;
    this.#server = createServer((request, response) => {
      this.#answer(request).then(
        ({ status, body }) => {
          response.writeHead(status, { "content-type": "application/json" });
          response.end(JSON.stringify(body));
        },
        (error: unknown) => {
          const { status, code, message } =
            error instanceof Refusal ? error : new Refusal(400, "invalid", String(error));
          response.writeHead(status, { "content-type": "application/problem+json" });
          response.end(JSON.stringify({ type: "about:blank", title: code, status, detail: message, code }));
        },
      );
    });
  }

  async listen(path: string): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(path, resolve));
  }

  observe(id: string, phase: ObservedPhase, message?: string): void {
    const record = this.#find(id);
    record.observed = {
      workspace: record.id,
      phase,
      ...(message === undefined ? {} : { message }),
      vmm: "qemu",
      accelerator: "tcg",
      kernel: "exai 6.1.0",
      serial: record.observed?.serial ?? 0,
      timings: { admitMs: 1, bootMs: 2, readyMs: 3, ...(phase === "destroyed" ? { destroyMs: 4 } : {}) },
      notEnforced: [],
    };
    this.#changed(record);
    this.onPhase(id, phase);
  }

  moveTo(url: string): void {
    this.url = url;
    for (const record of this.records.values()) {
      record.endpoint = { host: this.host, url };
      this.#changed(record);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const wake of this.#waiters) wake();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #answer(request: IncomingMessage): Promise<{ status: number; body: unknown }> {
    await this.#authenticate(request);
    const url = new URL(request.url ?? "/", "http://control");
    const [, version, kind, id, action] = url.pathname.split("/");
    if (version !== "v1") throw new Refusal(404, "not-found", "there is no such path");
    if (kind === "endpoints" && request.method === "GET") {
      return { status: 200, body: { items: [{ host: this.host, url: this.url }] } };
    }
    if (kind !== "workspaces") throw new Refusal(404, "not-found", "there is no such path");
    if (request.method === "POST") return await this.#write(request, id, action);
    if (id !== undefined) return { status: 200, body: this.#out(await this.#wait(id, url.searchParams)) };
    return { status: 200, body: this.#page(url.searchParams) };
  }

  #page(query: URLSearchParams): unknown {
    const from = Number(query.get("cursor") ?? 0);
    const name = query.get("name");
    const all = [...this.records.values()].filter(
      (each) => (query.get("state") === "all" || each.desired !== "destroyed") && (name === null || each.name === name),
    );
    const next = from + 2;
    const items = all.slice(from, next).map((record) => this.#out(record));
    return { items, ...(next < all.length ? { nextCursor: String(next) } : {}) };
  }

  async #write(request: IncomingMessage, id: string | undefined, action: string | undefined) {
    const key = request.headers["idempotency-key"];
    if (typeof key !== "string" || key.length < 8) throw new Refusal(400, "no-key", "an idempotency key is missing");
    const body: unknown = JSON.parse(await readAll(request));
    const known = this.#answers.get(key);
    if (known !== undefined) return { status: 200, body: this.#out(known) };
    const record =
      id === undefined
        ? await this.#create(createWorkspaceRequest.parse(body).intent)
        : action === "intents"
          ? await this.#apply(id, intentRequest.parse(body).intent)
          : undefined;
    if (record === undefined) throw new Refusal(404, "not-found", "there is no such path");
    this.#answers.set(key, record);
    if (id === undefined) await this.creationAnswers;
    return { status: id === undefined ? 201 : 202, body: this.#out(record) };
  }

  async #create(intent: string): Promise<Workspace> {
    const claims = await this.#verifyIntent(intent);
    if (claims.act !== "create") throw new Refusal(400, "invalid", "not a creation");
    for (const each of this.records.values()) {
      if (each.name !== undefined && each.name === claims.spec.name && each.desired !== "destroyed") {
        throw new Refusal(409, "name-taken", `the name '${each.name}' is taken`);
      }
    }
    const { spec } = claims;
    const record: Workspace = {
      id: claims.sub,
      tenant: claims.iss,
      ...(spec.name === undefined ? {} : { name: spec.name }),
      labels: spec.labels,
      image: spec.image,
      cpus: spec.cpus,
      memoryMib: spec.memoryMib,
      diskMib: spec.diskMib,
      ttlSeconds: spec.ttlSeconds,
      createdAt: new Date().toISOString(),
      desired: "running",
      intent,
      endpoint: { host: this.host, url: this.url },
      revision: 1,
    };
    this.records.set(record.id, record);
    setTimeout(() => this.observe(record.id, this.boot.phase, this.boot.message), this.boot.afterMs);
    return record;
  }

  async #apply(id: string, intent: string): Promise<Workspace> {
    const record = this.#find(id);
    const claims = await this.#verifyIntent(intent);
    const created = await this.#verifyIntent(record.intent);
    if (claims.sub !== id || claims.serial <= created.serial) throw new Refusal(409, "stale", "the intent is stale");
    const after = { create: "running", start: "running", stop: "stopped", destroy: "destroyed" } as const;
    const phase = after[claims.act];
    record.desired = phase;
    setTimeout(() => this.observe(id, phase), 5);
    return record;
  }

  async #verifyIntent(jws: string): Promise<IntentClaims> {
    const { payload, protectedHeader } = await compactVerify(jws, this.#key, { algorithms: ["EdDSA"] });
    if (protectedHeader.typ !== jwsTypes.intent) throw new Refusal(400, "invalid", "the intent has another type");
    return intentClaims.parse(JSON.parse(Buffer.from(payload).toString("utf8")));
  }

  async #authenticate(request: IncomingMessage): Promise<void> {
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1] ?? "";
    try {
      const options = { audience: audiences.control, typ: jwsTypes.control, algorithms: ["EdDSA"], maxTokenAge: 600 };
      controlClaims.parse((await jwtVerify(token, this.#key, options)).payload);
    } catch (cause) {
      throw new Refusal(401, "unauthenticated", `the token is not good: ${String(cause)}`);
    }
  }

  async #wait(id: string, query: URLSearchParams): Promise<Workspace> {
    const after = Number(query.get("waitAfter") ?? 0);
    const until = Date.now() + Number(query.get("waitMs") ?? 0);
    while (this.#find(id).revision <= after && Date.now() < until) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, until - Date.now());
        this.#waiters.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this.#find(id);
  }

  #find(id: string): Workspace {
    const record = this.records.get(id);
    if (record === undefined) throw new Refusal(404, "not-found", "there is no such workspace");
    return record;
  }

  #changed(record: Workspace): void {
    record.revision++;
    for (const wake of this.#waiters) wake();
    this.#waiters.clear();
  }

  #out = (record: Workspace): Workspace => workspaceSchema.parse(this.lie(structuredClone(record)));
}

async function readAll(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}
