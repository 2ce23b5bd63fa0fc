import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Chunk, Output, StartRequest } from "@exai/api/guest";
import { isConnectionFailure, toSdkError } from "../data/errors.ts";
import type { PlaneSource } from "../data/plane.ts";
import { SdkError } from "../errors.ts";
import { StandardInput } from "./input.ts";
import { ByteQueue } from "./queue.ts";
import { type ExitStatus, exitStatus, signalNumber } from "./status.ts";

/** Bytes of one stream that wait for a reader before the program is held back. */
const queueBytes = 1 << 20;
/** How long a broken connection is tried again, milliseconds: a channel process is back in about one second. */
const patienceMs = 20_000;

type Stream = "stdout" | "stderr";

/** Called in order; a returned promise is waited for and holds the program back. */
export type OutputSink = (stream: Stream, data: Uint8Array) => void | Promise<void>;

export interface AttachOptions {
  /** Takes all output instead of the iterables `stdout` and `stderr`. */
  readonly onOutput?: OutputSink;
  /** Where to begin in each stream; default the oldest byte that is kept. */
  readonly stdoutOffset?: bigint;
  readonly stderrOffset?: bigint;
  readonly signal?: AbortSignal;
}

/**
 * A program in a workspace, as one attached client sees it. It lives on when the client goes; a connection that breaks
 * is attached again at the exact byte. Read both streams (or give `onOutput`, or `ignore` one): what nobody reads holds
 * the program back, as a pipe does.
 */
export class Execution implements AsyncDisposable {
  /** The guest's id of the process; give it to `attach`. */
  readonly id: bigint;
  readonly #stdout = new ByteQueue(queueBytes);
  readonly #stderr = new ByteQueue(queueBytes);
  readonly #plane: PlaneSource;
  readonly #sink: OutputSink;
  readonly #abort: AbortController;
  readonly #input: StandardInput;
  readonly #end = Promise.withResolvers<ExitStatus | undefined>();
  readonly #next = { stdout: 0n, stderr: 0n };
  /** Bytes that the guest had dropped before this client could read them. */
  readonly lostBytes = { stdout: 0n, stderr: 0n };

  private constructor(
    plane: PlaneSource,
    id: bigint,
    abort: AbortController,
    options: AttachOptions & { inputOffset?: bigint },
  ) {
    this.id = id;
    this.#plane = plane;
    this.#abort = abort;
    this.#next.stdout = options.stdoutOffset ?? 0n;
    this.#next.stderr = options.stderrOffset ?? 0n;
    this.#sink = options.onOutput ?? ((stream, data) => this.#queue(stream).push(data));
    if (options.onOutput !== undefined) for (const queue of [this.#stdout, this.#stderr]) queue.ignore();
    this.#input = new StandardInput(plane, id, options.inputOffset);
    this.#end.promise.catch(() => undefined); // who waits sees it; nobody has to wait
  }

  /** Starts a program; returns when it runs. @throws SdkError `not-found`, `denied`, `invalid`, `not-running`, … */
  static async start(plane: PlaneSource, request: StartRequest, options: AttachOptions = {}): Promise<Execution> {
    const abort = linkedAbort(options.signal);
    try {
      const { processes } = await plane();
      const stream = processes.run(request, { signal: abort.signal })[Symbol.asyncIterator]();
      const first = await stream.next();
      if (first.done || first.value.event.case !== "started") {
        throw new SdkError("bad-answer", "the guest did not say that the program was started");
      }
      const execution = new Execution(plane, first.value.event.value.process, abort, {
        ...options,
        inputOffset: 0n,
      });
      void execution.#follow(stream);
      return execution;
    } catch (error) {
      abort.abort();
      throw toSdkError(error, "the command was not started");
    }
  }

  /** Attaches to a program that was started before. @throws SdkError `not-found`, `not-running` */
  static async attach(plane: PlaneSource, id: bigint, options: AttachOptions = {}): Promise<Execution> {
    const execution = new Execution(plane, id, linkedAbort(options.signal), options);
    const stream = await execution.#reattach();
    // Whether the process exists comes with the first event, and a silent program gives none: `wait` says it.
    void execution.#follow(stream);
    return execution;
  }

  get stdout(): AsyncIterable<Uint8Array> {
    return this.#stdout;
  }

  get stderr(): AsyncIterable<Uint8Array> {
    return this.#stderr;
  }

  ignore(stream: Stream): void {
    this.#queue(stream).ignore();
  }

  /** Resolves when the guest has taken the bytes. @throws SdkError `precondition` when standard input is closed */
  write(data: Uint8Array | string): Promise<void> {
    return this.#input.write(typeof data === "string" ? Buffer.from(data) : data);
  }

  closeStdin(): Promise<void> {
    return this.#input.close();
  }

  /** To the process group (default), or to the leader only. */
  async signal(signal: string | number, options: { group?: boolean } = {}): Promise<void> {
    const number = signalNumber(signal);
    try {
      await (await this.#plane()).processes.signal({ process: this.id, signal: number, group: options.group ?? true });
    } catch (error) {
      throw toSdkError(error, `signal ${signal} was not delivered`);
    }
  }

  async resize(size: { rows: number; columns: number }): Promise<void> {
    try {
      await (await this.#plane()).processes.resize({ process: this.id, ...size });
    } catch (error) {
      throw toSdkError(error, "the terminal was not resized");
    }
  }

  /**
   * How it ended, once all of its output was delivered; `undefined` when this client was detached before.
   * @throws SdkError `connection-lost`, `not-running` (the workspace was stopped), `cancelled`
   */
  waitOrDetach(): Promise<ExitStatus | undefined> {
    return this.#end.promise;
  }

  /** As `waitOrDetach`, where a detach is an error. */
  async wait(): Promise<ExitStatus> {
    const status = await this.#end.promise;
    if (status === undefined) throw new SdkError("cancelled", "the client was detached; the program goes on");
    return status;
  }

  /** Leaves the program running and ends this client's streams. */
  detach(): void {
    this.#finish(undefined);
    this.#abort.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.detach();
  }

  #queue(stream: Stream): ByteQueue {
    return stream === "stdout" ? this.#stdout : this.#stderr;
  }

  async #reattach(): Promise<AsyncIterator<Output>> {
    const { processes } = await this.#plane();
    const { stdout, stderr } = this.#next;
    const request = { process: this.id, stdoutOffset: stdout, stderrOffset: stderr };
    return processes.attach(request, { signal: this.#abort.signal })[Symbol.asyncIterator]();
  }

  async #follow(first: AsyncIterator<Output>): Promise<void> {
    let stream: AsyncIterator<Output> | undefined = first;
    let brokeAt: number | undefined;
    for (;;) {
      try {
        stream ??= await this.#reattach();
        for (let item = await stream.next(); !item.done; item = await stream.next()) {
          brokeAt = undefined;
          if (await this.#take(item.value)) return;
        }
        throw new ConnectError("the stream ended early", Code.Unavailable);
      } catch (error) {
        brokeAt ??= performance.now();
        if (this.#abort.signal.aborted) return this.#finish(undefined, cancelled());
        const giveUp = !isLost(error) || performance.now() - brokeAt > patienceMs;
        if (giveUp) return this.#finish(undefined, toSdkError(error, "the command's output was cut off"));
        stream = undefined;
        await delay(performance.now() - brokeAt < 1000 ? 50 : 500);
      }
    }
  }

  /** True when it was the last event. */
  async #take(output: Output): Promise<boolean> {
    const event = output.event;
    switch (event.case) {
      case "stdout":
      case "stderr":
        await this.#deliver(event.case, event.value);
        return false;
      case "exited":
        this.#finish(exitStatus(event.value));
        return true;
      case "detached":
        this.#finish(undefined);
        return true;
      default:
        return false;
    }
  }

  async #deliver(stream: Stream, chunk: Chunk): Promise<void> {
    const next = this.#next[stream];
    if (chunk.offset > next) this.lostBytes[stream] += chunk.offset - next;
    const known = chunk.offset < next ? Number(next - chunk.offset) : 0;
    if (known >= chunk.data.length) return;
    this.#next[stream] = chunk.offset + BigInt(chunk.data.length);
    await this.#sink(stream, known === 0 ? chunk.data : chunk.data.subarray(known));
  }

  #finish(status: ExitStatus | undefined, error?: SdkError): void {
    this.#stdout.end(error);
    this.#stderr.end(error);
    if (error === undefined) this.#end.resolve(status);
    else this.#end.reject(error);
  }
}

const cancelled = () => new SdkError("cancelled", "the call was cancelled; the program goes on");

const isLost = (error: unknown): boolean =>
  isConnectionFailure(error) ||
  (error instanceof ConnectError && error.code === Code.Unavailable) ||
  (error instanceof SdkError && error.code === "unreachable");

function linkedAbort(signal: AbortSignal | undefined): AbortController {
  const abort = new AbortController();
  if (signal?.aborted) abort.abort(signal.reason);
  signal?.addEventListener("abort", () => abort.abort(signal.reason), { once: true, signal: abort.signal });
  return abort;
}
