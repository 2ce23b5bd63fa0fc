import type { KeyObject } from "node:crypto";
import { lstat, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createSecureServer, type Http2SecureServer } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { audiences, type DataScope, dataClaims, jwsTypes } from "@exai/api";
import { type FileInfoSchema, FileKind, PortFrameSchema, TreeSummarySchema } from "@exai/api/guest";
import { Workspace, WorkspaceFiles, WorkspacePorts, WorkspaceProcesses } from "@exai/api/workspace";
import { errorCode, type HostId } from "@exai/base";
import { jwtVerify } from "jose";
import { packTree } from "../tree/pack.ts";
import { unpackTree } from "../tree/unpack.ts";
import { ProcessesDouble } from "./processes.double.ts";

/**
 * A strict double of one tenant's channel with a guest behind it: TLS with the host's certificate, tokens checked by jose,
 * programs as local children, files below one folder of this machine.
 */
export class ChannelDouble implements AsyncDisposable {
  readonly processes = new ProcessesDouble();
  readonly root: string;
  readonly #host: HostId;
  readonly #key: KeyObject;
  readonly #tls: { cert: string; key: string };
  readonly #sockets = new Set<Socket>();
  readonly running = new Set<string>();
  /** What the guest printed, in pieces. */
  console: readonly Uint8Array[] = [Buffer.from("exai-guest: ready\n")];
  /** Calls that go on now, by method. */
  readonly calls = new Set<string>();
  #server: Http2SecureServer | undefined;
  #wake = Promise.withResolvers<void>();

  constructor(options: { root: string; host: HostId; key: KeyObject; tls: { cert: string; key: string } }) {
    this.root = options.root;
    this.#host = options.host;
    this.#key = options.key;
    this.#tls = options.tls;
  }

  /** @returns the URL, on a new port each time */
  async listen(): Promise<string> {
    const handler = connectNodeAdapter({ routes: (router) => this.#routes(router) });
    const server = createSecureServer({ ...this.#tls, minVersion: "TLSv1.3" }, handler);
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    this.#server = server;
    const address = server.address();
    return `https://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  }

  setRunning(id: string, running: boolean): void {
    if (running) this.running.add(id);
    else this.running.delete(id);
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  /** As when the process is killed: every connection breaks at once. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.dropConnections();
    await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.processes.killAll();
    await this.stop();
  }

  async #admit(context: HandlerContext, scope: DataScope): Promise<string> {
    const token = /^Bearer (.+)$/.exec(context.requestHeader.get("authorization") ?? "")?.[1] ?? "";
    try {
      const options = { audience: `${audiences.data}:${this.#host}`, typ: jwsTypes.data, algorithms: ["EdDSA"] };
      const claims = dataClaims.parse((await jwtVerify(token, this.#key, options)).payload);
      if (!claims.scope.includes(scope))
        throw new ConnectError(`the token has no scope ${scope}`, Code.PermissionDenied);
      return claims.workspace ?? "";
    } catch (error) {
      if (error instanceof ConnectError) throw error;
      throw new ConnectError(`the token is not good: ${String(error)}`, Code.Unauthenticated);
    }
  }

  async #running(context: HandlerContext, scope: DataScope): Promise<void> {
    const id = await this.#admit(context, scope);
    if (!this.running.has(id)) throw new ConnectError("the workspace does not run", Code.Unavailable);
  }

  async *#printed() {
    for (const data of this.console) yield { data };
  }

  #routes(router: ConnectRouter): void {
    router.service(Workspace, {
      ready: async (request, context) => {
        const id = await this.#admit(context, "process");
        const until = Date.now() + request.timeoutMs;
        while (!this.running.has(id)) {
          const left = until - Date.now();
          if (left <= 0) throw new ConnectError("the guest did not answer", Code.Unavailable);
          await Promise.race([this.#wake.promise, new Promise((resolve) => setTimeout(resolve, left))]);
        }
        return { guest: { contract: 1 }, waitedMs: 0 };
      },
      console: () => this.#printed(),
      events: async function* () {
        yield { writer: "channel", sequence: 1n, sealed: Buffer.from("sealed") };
      },
      metrics: () => ({ processes: this.processes.entries.size }),
    });
    this.#processRoutes(router);
    this.#fileRoutes(router);
    this.#portRoutes(router);
  }

  #processRoutes(router: ConnectRouter): void {
    const admit = (context: HandlerContext) => this.#running(context, "process");
    const all = this.processes;
    router.service(WorkspaceProcesses, {
      async *run(request, context) {
        await admit(context);
        const entry = await all.start(request);
        yield { event: { case: "started", value: { process: entry.id, pid: entry.child.pid ?? 0 } } };
        yield* all.attach(entry.id, { stdout: 0, stderr: 0 }, context.signal);
      },
      async *attach(request, context) {
        await admit(context);
        const from = { stdout: Number(request.stdoutOffset), stderr: Number(request.stderrOffset) };
        yield* all.attach(request.process, from, context.signal);
      },
      async list(_request, context) {
        await admit(context);
        const processes = [...all.entries.values()].map((each) => ({
          process: each.id,
          pid: each.child.pid ?? 0,
          argv: each.request.argv,
          user: "user",
          tag: each.request.tag,
          terminal: each.request.terminal !== undefined,
          attached: each.attached,
          startedUnixMs: BigInt(each.startedAt),
          ...(each.exited === undefined ? {} : { exited: each.exited }),
        }));
        return { processes };
      },
      async signal(request, context) {
        await admit(context);
        all.signal(request.process, request.signal);
        return {};
      },
      async sendInput(request, context) {
        await admit(context);
        return { offset: await all.input(request.process, request.offset, request.data) };
      },
      async closeStdin(request, context) {
        await admit(context);
        all.find(request.process).child.stdin?.end();
        return {};
      },
      async detach(request, context) {
        await admit(context);
        all.find(request.process).generation++;
        return {};
      },
      async resize(_request, context) {
        await admit(context);
        return {};
      },
    });
  }

  #fileRoutes(router: ConnectRouter): void {
    const admit = (context: HandlerContext) => this.#running(context, "files");
    const local = (path: Uint8Array) => join(this.root, Buffer.from(path).toString("utf8"));
    router.service(WorkspaceFiles, {
      stat: async (request, context) => {
        await admit(context);
        return await info(local(request.path), Buffer.from(request.path).toString("utf8"));
      },
      async *list(request, context) {
        await admit(context);
        for (const name of await readdir(local(request.path))) yield await info(join(local(request.path), name), name);
      },
      async *read(request, context) {
        await admit(context);
        const data = await said(readFile(local(request.path)));
        for (let at = 0; at < data.length; at += 65_536)
          yield { offset: BigInt(at), data: data.subarray(at, at + 65_536) };
      },
      write: async (requests, context) => {
        await admit(context);
        const parts: Uint8Array[] = [];
        let path = "";
        for await (const { frame } of requests) {
          if (frame.case === "open") path = local(frame.value.path);
          else if (frame.case === "data") parts.push(frame.value);
        }
        await said(writeFile(path, Buffer.concat(parts)));
        return await info(path, path);
      },
      mkdir: async (request, context) => {
        await admit(context);
        await said(mkdir(local(request.path), { recursive: request.parents }));
        return await info(local(request.path), "");
      },
      rename: async (request, context) => {
        await admit(context);
        await said(rename(local(request.from), local(request.to)));
        return {};
      },
      remove: async (request, context) => {
        await admit(context);
        await said(rm(local(request.path), { recursive: request.recursive }));
        return {};
      },
      async *readTree(request, context) {
        await admit(context);
        await said(lstat(local(request.path)));
        yield* packTree(local(request.path), { destination: "/" });
      },
      writeTree: async (frames, context) => {
        await admit(context);
        const reader = frames[Symbol.asyncIterator]();
        const first = await reader.next();
        const root = first.done ? undefined : first.value.frame;
        if (root?.case !== "root") throw new ConnectError("the root is missing", Code.InvalidArgument);
        const rest = { [Symbol.asyncIterator]: () => reader };
        const done = await unpackTree(rest, { destination: local(root.value.path) });
        return create(TreeSummarySchema, { files: BigInt(done.files), bytes: BigInt(done.bytes) });
      },
    });
  }

  #portRoutes(router: ConnectRouter): void {
    const admit = (context: HandlerContext) => this.#running(context, "ports");
    router.service(WorkspacePorts, {
      async *connect(frames, context) {
        await admit(context);
        const reader = frames[Symbol.asyncIterator]();
        const first = await reader.next();
        const open = first.done ? undefined : first.value.frame;
        if (open?.case !== "connect") throw new ConnectError("the port is missing", Code.InvalidArgument);
        const socket = connectTcp({ port: open.value.port, host: "127.0.0.1", allowHalfOpen: true });
        await new Promise<void>((resolve, reject) => {
          socket.once("connect", resolve);
          socket.once("error", () => reject(new ConnectError("nothing listens there", Code.Unavailable)));
        });
        context.signal.addEventListener("abort", () => socket.destroy());
        yield create(PortFrameSchema, { frame: { case: "connected", value: {} } });
        const incoming = (async () => {
          for (let next = await reader.next(); !next.done; next = await reader.next()) {
            if (next.value.frame.case === "data") socket.write(next.value.frame.value);
          }
          socket.end();
        })();
        incoming.catch(() => socket.destroy());
        for await (const data of socket as AsyncIterable<Buffer>) {
          for (let at = 0; at < data.length; at += 65_536) {
            yield create(PortFrameSchema, { frame: { case: "data", value: data.subarray(at, at + 65_536) } });
          }
        }
      },
    });
  }
}

async function said<T>(step: Promise<T>): Promise<T> {
  try {
    return await step;
  } catch (error) {
    const code = errorCode(error) === "ENOENT" ? Code.NotFound : Code.PermissionDenied;
    throw new ConnectError(String(errorCode(error)), code);
  }
}

async function info(path: string, name: string): Promise<MessageInitShape<typeof FileInfoSchema>> {
  const stat = await said(lstat(path, { bigint: true }));
  const kind = stat.isFile() ? FileKind.FILE : stat.isDirectory() ? FileKind.DIRECTORY : FileKind.SYMLINK;
  return {
    name: Buffer.from(name),
    kind,
    mode: Number(stat.mode) & 0o7777,
    sizeBytes: stat.size,
    mtimeNs: stat.mtimeNs,
  };
}
