import { rmSync } from "node:fs";
import { createServer, type ServerHttp2Session } from "node:http2";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createConnectRouter, type ServiceImpl } from "@connectrpc/connect";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import {
  EmptySchema,
  ExitedSchema,
  FileInfoSchema,
  Files,
  Machine,
  MetricsResponseSchema,
  OutputSchema,
  PortFrameSchema,
  Ports,
  Processes,
} from "@exai/api/guest";

/**
 * For tests only: an honest, strict stand-in for the guest's agent on a UNIX socket. It holds files in memory; its
 * "programs" are `true`, `echo`, `flood` (output without end), `sleep` (silent without end) and `fail`.
 */
export class GuestDouble implements AsyncDisposable {
  readonly calls: string[] = [];
  readonly files = new Map<string, Buffer>();
  /** Bytes that left this side, over all streams. */
  sentBytes = 0;
  /** Streams whose caller went away. */
  cancelled = 0;
  hostname = "";
  entropyBytes = 0;
  readonly #path: string;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #server;
  #nextProcess = 1n;

  constructor(path: string) {
    this.#path = path;
    const router = createConnectRouter({
      connect: false,
      grpcWeb: false,
      interceptors: [
        (next) => (request) => {
          this.calls.push(`${request.service.typeName}/${request.method.name}`);
          if (request.header.has("authorization")) throw new ConnectError("a token reached the guest", Code.Internal);
          return next(request);
        },
      ],
    });
    router.service(Machine, this.#machine());
    router.service(Processes, this.#processes());
    router.service(Files, this.#fileService());
    router.service(Ports, this.#ports());
    const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
    this.#server = createServer({ settings: { initialWindowSize: 1 << 20 } }, (request, response) => {
      response.on("error", () => undefined);
      const handler = handlers.get(request.url);
      if (handler === undefined) throw new Error(`the guest has no ${request.url}`);
      handler(universalRequestFromNodeRequest(request, response, undefined, undefined))
        .then((answer) => universalResponseToNodeResponse(answer, response))
        .catch(() => undefined); // the caller went away
    });
    this.#server.on("session", (session) => {
      this.#sessions.add(session);
      session.setLocalWindowSize(8 << 20);
      session.on("close", () => this.#sessions.delete(session));
    });
  }

  async listen(): Promise<this> {
    rmSync(this.#path, { force: true });
    await new Promise<void>((resolve) => this.#server.listen(this.#path, resolve));
    return this;
  }

  /** As a killed VMM does. */
  cut(): void {
    for (const session of this.#sessions) session.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    rmSync(this.#path, { force: true });
  }

  #machine(): Partial<ServiceImpl<typeof Machine>> {
    return {
      hello: (request) => {
        this.hostname = request.hostname;
        this.entropyBytes = request.entropy.length;
        return { contract: 1, agentVersion: "double", kernelRelease: "6.1.0-double", initUs: 1n, readyUs: 2n };
      },
      metrics: () => create(MetricsResponseSchema, { processes: 3 }),
      shutdown: () => create(EmptySchema),
    };
  }

  #processes(): Partial<ServiceImpl<typeof Processes>> {
    const run = this.#run.bind(this);
    return {
      start: (request) => {
        if (request.argv.length === 0) throw new ConnectError("empty argv", Code.InvalidArgument);
        return { process: this.#nextProcess++, pid: 1 };
      },
      run: (request, context) => run(Buffer.from(request.argv[0] ?? []).toString(), request.argv, context.signal),
      attach: (request, context) => {
        if (request.process > 1000n) throw new ConnectError("no such process", Code.NotFound);
        return run("echo", [Buffer.from("echo"), Buffer.from("again")], context.signal);
      },
      detach: () => create(EmptySchema),
      list: () => ({ processes: [] }),
      signal: () => create(EmptySchema),
      resize: () => create(EmptySchema),
      sendInput: (request) => ({ offset: request.offset + BigInt(request.data.length) }),
      closeStdin: () => create(EmptySchema),
      wait: async (_request, context) => {
        await aborted(context.signal);
        throw new ConnectError("cancelled", Code.Canceled);
      },
    };
  }

  async *#run(name: string, argv: Uint8Array[], signal: AbortSignal) {
    const process = this.#nextProcess++;
    if (name === "fail") throw new ConnectError("no such\u001b[2J program", Code.NotFound);
    if (name === "leak") throw new ConnectError("your token is bad", Code.Unauthenticated);
    yield create(OutputSchema, { event: { case: "started", value: { process, pid: 7 } } });
    if (name === "sleep") {
      await aborted(signal);
      this.cancelled++;
      return;
    }
    if (name === "flood") yield* this.#flood(signal);
    if (name === "echo") yield output(Buffer.from(argv[1] ?? []), 0n);
    yield create(OutputSchema, { event: { case: "exited", value: create(ExitedSchema, { code: 0 }) } });
  }

  async *#flood(signal: AbortSignal) {
    const data = Buffer.alloc(64 << 10, 120);
    try {
      for (let offset = 0n; !signal.aborted; offset += BigInt(data.length)) {
        yield output(data, offset);
        this.sentBytes += data.length;
      }
    } finally {
      this.cancelled++;
    }
  }

  #fileService(): Partial<ServiceImpl<typeof Files>> {
    const files = this.files;
    const info = (path: string) =>
      create(FileInfoSchema, { name: Buffer.from(path), sizeBytes: BigInt(files.get(path)?.length ?? 0) });
    const existing = (bytes: Uint8Array) => {
      const path = Buffer.from(bytes).toString();
      if (!files.has(path)) throw new ConnectError("no such file", Code.NotFound);
      return path;
    };
    return {
      stat: (request) => info(existing(request.path)),
      list: async function* () {
        for (const path of files.keys()) yield info(path);
      },
      read: async function* (request) {
        const content = files.get(existing(request.path)) ?? Buffer.alloc(0);
        for (let at = 0; at < content.length; at += 64 << 10) {
          yield { offset: BigInt(at), data: content.subarray(at, at + (64 << 10)) };
        }
      },
      write: async (requests) => {
        let path = "";
        const parts: Uint8Array[] = [];
        for await (const { frame } of requests) {
          if (frame.case === "open") path = Buffer.from(frame.value.path).toString();
          else if (frame.case === "data" && path !== "") parts.push(frame.value);
          else throw new ConnectError("data before open", Code.InvalidArgument);
        }
        files.set(path, Buffer.concat(parts));
        return info(path);
      },
      mkdir: (request) => info(Buffer.from(request.path).toString()),
      rename: () => create(EmptySchema),
      remove: (request) => {
        files.delete(existing(request.path));
        return create(EmptySchema);
      },
      watch: async function* (_request, context) {
        yield { kind: 7 };
        await aborted(context.signal);
      },
      getXattr: () => ({ attributes: [] }),
      setXattr: () => create(EmptySchema),
      readTree: async function* () {
        yield { frame: { case: "end" as const, value: {} } };
      },
      writeTree: async (frames) => {
        let bytes = 0n;
        for await (const { frame } of frames) if (frame.case === "data") bytes += BigInt(frame.value.length);
        return { bytes };
      },
    };
  }

  #ports(): Partial<ServiceImpl<typeof Ports>> {
    return {
      connect: async function* (frames) {
        for await (const { frame } of frames) {
          if (frame.case === "connect") yield create(PortFrameSchema, { frame: { case: "connected", value: {} } });
          else if (frame.case === "data") yield create(PortFrameSchema, { frame });
        }
      },
    };
  }
}

const output = (data: Uint8Array, offset: bigint) =>
  create(OutputSchema, { event: { case: "stdout", value: { offset, data } } });

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
