import type { Observation, ObservedPhase, Workspace as WorkspaceRecord, WorkspaceSpec } from "@exai/api";
import type { WorkspaceId } from "@exai/base";
import type { ControlClient } from "./control/client.ts";
import type { DataPlane, DataPlanes } from "./data/plane.ts";
import { SdkError } from "./errors.ts";
import { Files } from "./files/files.ts";
import type { Forward, ForwardOptions } from "./forward.ts";
import type { AttachOptions, Execution } from "./process/execution.ts";
import type { ProcessEntry } from "./process/list.ts";
import type { ExecOptions } from "./process/options.ts";
import type { RunOptions, RunResult } from "./process/run.ts";
import { SharedWait } from "./shared-wait.ts";
import type { Signer } from "./tokens.ts";

/** What one handle needs of its client. */
export interface WorkspaceParts {
  readonly control: ControlClient;
  readonly signer: Signer;
  /** Loaded when first used: a program that only lists workspaces needs no HTTP/2. */
  readonly planes: () => Promise<DataPlanes>;
}

export interface WaitOptions {
  /** Default 60 000, at most 600 000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const staleMs = 5000;
const longestReadyMs = 600_000;
const none: ReadonlySet<ObservedPhase> = new Set();

const dead: ReadonlySet<ObservedPhase> = new Set(["refused", "failed", "quarantined", "destroying", "destroyed"]);

/** One workspace: its life by intents that the tenant signs, and what goes on inside by its own tokens. */
export class Workspace {
  readonly id: WorkspaceId;
  /** What the tenant signed at creation; not what the control plane says. */
  readonly spec: WorkspaceSpec;
  readonly files: Files;
  readonly #parts: WorkspaceParts;
  #record: WorkspaceRecord;
  #plane: DataPlane | undefined;
  #ready: SharedWait | undefined;
  /** The phase before a start, which says nothing about it; believed again when it changes or after some seconds. */
  #stale: { phase: ObservedPhase; untilMs: number } | undefined;

  /** @throws SdkError `forged` when the record does not carry this tenant's own creation intent */
  constructor(parts: WorkspaceParts, record: WorkspaceRecord) {
    this.#parts = parts;
    this.#record = record;
    this.id = record.id;
    this.spec = parts.signer.readCreation(record.id, record.intent).spec;
    if (record.observed !== undefined) parts.signer.noteSerial(record.id, record.observed.serial);
    this.files = new Files(() => this.#readyPlane());
  }

  get name(): string | undefined {
    return this.spec.name;
  }
  /** What the control plane last said: a claim, fine for display. */
  get record(): WorkspaceRecord {
    return this.#record;
  }
  get phase(): ObservedPhase {
    return this.#record.observed?.phase ?? "unknown";
  }
  get observed(): Observation | undefined {
    return this.#record.observed;
  }

  async refresh(signal?: AbortSignal): Promise<this> {
    this.#record = await this.#parts.control.get(this.id, undefined, signal);
    return this;
  }

  /** Begins the connection to the host, so that it is there when the guest is. */
  async connect(): Promise<void> {
    await this.#currentPlane();
  }

  /**
   * Returns when the guest answers.
   * @throws SdkError `failed` (refused, failed or quarantined: the message says why), `not-running`, `timeout`, `cancelled`
   */
  async ready(options: WaitOptions = {}): Promise<void> {
    if (this.#ready === undefined || this.#ready.over)
      this.#ready = new SharedWait((signal) => this.#awaitGuest(signal));
    const { timeoutMs = 60_000, signal } = options;
    await this.#ready.join({ timeoutMs, ...(signal === undefined ? {} : { signal }), late: () => this.#late() });
  }

  /** For every caller of `ready`, so with no caller's signal or time. */
  async #awaitGuest(signal: AbortSignal): Promise<void> {
    const { awaitGuest } = await import("./ready.ts");
    await awaitGuest({
      plane: () => this.#currentPlane(signal),
      until: (done, signal) => this.until(done, { timeoutMs: longestReadyMs, signal }),
      timeoutMs: longestReadyMs,
      signal,
    });
  }

  /** Starts a program and returns when it runs. @throws SdkError `not-found`, `denied`, `invalid`, `not-running` */
  async exec(argv: readonly (string | Uint8Array)[], options: ExecOptions & AttachOptions = {}): Promise<Execution> {
    const [{ Execution }, { startRequest }] = await Promise.all([
      import("./process/execution.ts"),
      import("./process/options.ts"),
    ]);
    const request = startRequest(argv, options);
    await this.ready(waitOf(options));
    return await Execution.start(() => this.#currentPlane(), request, options);
  }

  /** Starts a program, waits for its end and gives its output, bounded. */
  async run(argv: readonly (string | Uint8Array)[], options: RunOptions = {}): Promise<RunResult> {
    const { collect } = await import("./process/run.ts");
    return await collect((output) => this.exec(argv, { ...options, ...output }), options);
  }

  /** Attaches to a program by its id. Output begins with the oldest byte that is kept. */
  async attach(process: bigint, options: AttachOptions = {}): Promise<Execution> {
    const { Execution } = await import("./process/execution.ts");
    await this.ready(waitOf(options));
    return await Execution.attach(() => this.#currentPlane(), process, options);
  }

  async processes(options: WaitOptions = {}): Promise<ProcessEntry[]> {
    const { listProcesses } = await import("./process/list.ts");
    return await listProcesses(await this.#readyPlane(options));
  }

  /** A listener on this machine for a TCP port of the guest. Dispose it to end it. */
  async forward(port: number, options: ForwardOptions = {}): Promise<Forward> {
    const { openForward } = await import("./forward.ts");
    await this.ready();
    return await openForward(() => this.#currentPlane(), port, options);
  }

  /** What the guest printed, oldest kept byte first; works for a boot that failed, too. */
  async *console(options: { follow?: boolean; signal?: AbortSignal } = {}): AsyncGenerator<Uint8Array> {
    const { toSdkError } = await import("./data/errors.ts");
    const { workspace } = await this.#currentPlane(options.signal);
    try {
      const call = options.signal === undefined ? {} : { signal: options.signal };
      for await (const chunk of workspace.console({ follow: options.follow ?? false }, call)) yield chunk.data;
    } catch (error) {
      if (options.signal?.aborted) return;
      throw toSdkError(error, "the console can't be read");
    }
  }

  async start(options: WaitOptions = {}): Promise<void> {
    this.#stale = { phase: this.phase, untilMs: performance.now() + staleMs };
    await this.#submit("start");
    this.#ready = undefined;
    await this.ready(options);
  }

  /** Powers the guest off; the disk stays. */
  async stop(options: WaitOptions = {}): Promise<void> {
    await this.#submit("stop");
    this.#ready = undefined;
    await this.until((phase) => phase === "stopped" || phase === "failed", options);
  }

  /** Removes the workspace with its disk, and returns when the host says that it is gone. */
  async destroy(options: WaitOptions & { wait?: boolean } = {}): Promise<void> {
    await this.#submit("destroy");
    if (options.wait === false) return;
    try {
      // What a host refused it never made.
      await this.until((phase) => phase === "destroyed" || phase === "refused", options, none);
    } catch (error) {
      if (!(error instanceof SdkError && error.code === "not-found")) throw error;
    }
  }

  /** Waits until the observed phase satisfies `done`. @throws SdkError `failed` (a phase of `fatal`), `timeout` */
  async until(
    done: (phase: ObservedPhase) => boolean,
    options: WaitOptions = {},
    fatal: ReadonlySet<ObservedPhase> = dead,
  ): Promise<void> {
    const until = performance.now() + (options.timeoutMs ?? 60_000);
    for (;;) {
      if (done(this.#believed())) return;
      this.#throwIfDead(fatal);
      const waitMs = Math.floor(until - performance.now());
      if (waitMs <= 0) throw this.#late();
      const wait = {
        waitAfter: this.#record.revision,
        waitMs: this.#stale === undefined ? waitMs : Math.min(waitMs, 1000),
      };
      this.#record = await this.#parts.control.get(this.id, wait, options.signal);
    }
  }

  #late(): SdkError {
    return new SdkError("timeout", `the workspace is still '${this.phase}'; see 'exai ws logs ${this.id}'`);
  }

  #believed(): ObservedPhase {
    if (this.#stale === undefined) return this.phase;
    if (this.phase === this.#stale.phase && performance.now() < this.#stale.untilMs) return "unknown";
    this.#stale = undefined;
    return this.phase;
  }

  #throwIfDead(fatal: ReadonlySet<ObservedPhase>): void {
    if (!fatal.has(this.#believed())) return;
    const why = this.observed?.message;
    throw new SdkError("failed", `the workspace is ${this.phase}${why === undefined ? "" : `: ${why}`}`);
  }

  async #submit(act: "start" | "stop" | "destroy"): Promise<void> {
    this.#record = await this.#parts.control.submit(this.id, this.#parts.signer.signIntent(this.id, { act }));
  }

  async #readyPlane(options: WaitOptions = {}): Promise<DataPlane> {
    await this.ready(options);
    return await this.#currentPlane(options.signal);
  }

  async #currentPlane(signal?: AbortSignal): Promise<DataPlane> {
    if (this.#plane?.isHealthy()) return this.#plane;
    const planes = this.#parts.planes();
    if (this.#plane !== undefined) await this.refresh(signal);
    await this.#awaitEndpoint(signal);
    const { endpoint } = this.#record;
    if (endpoint === undefined)
      throw new SdkError("not-running", "no host has taken the workspace yet; see 'exai status'");
    this.#plane = (await planes).open(endpoint, this.id);
    return this.#plane;
  }

  async #awaitEndpoint(signal: AbortSignal | undefined): Promise<void> {
    const until = performance.now() + 30_000;
    while (this.#record.endpoint === undefined && performance.now() < until) {
      this.#throwIfDead(dead);
      const wait = { waitAfter: this.#record.revision, waitMs: Math.max(0, Math.floor(until - performance.now())) };
      this.#record = await this.#parts.control.get(this.id, wait, signal);
    }
  }
}

const waitOf = (options: { signal?: AbortSignal }): WaitOptions =>
  options.signal === undefined ? {} : { signal: options.signal };
