import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { type ExitedSchema, type Output, OutputSchema, type StartRequest } from "@exai/api/guest";

interface Entry {
  readonly id: bigint;
  readonly child: ChildProcess;
  readonly request: StartRequest;
  readonly kept: { stdout: Buffer; stderr: Buffer };
  readonly startedAt: number;
  attached: number;
  taken: bigint;
  exited: MessageInitShape<typeof ExitedSchema> | undefined;
  timedOut: boolean;
  generation: number;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");

/** Programs as the guest's agent keeps them, but as children of this process: a double, strict on what it is sent. */
export class ProcessesDouble {
  readonly entries = new Map<bigint, Entry>();
  /** So many first bytes of standard output are kept for nobody. */
  droppedBytes = 0;
  readonly #wakers = new Set<() => void>();
  #next = 1n;

  async start(request: StartRequest): Promise<Entry> {
    const [program, ...rest] = request.argv.map(text);
    if (program === undefined) throw new ConnectError("argv is empty", Code.InvalidArgument);
    const env = Object.fromEntries(request.env.map((each) => [text(each.name), text(each.value)]));
    const child = spawn(program, rest, {
      env: { PATH: process.env["PATH"] ?? "", ...env },
      cwd: text(request.cwd) || "/",
      detached: true,
      stdio: [request.stdin ? "pipe" : "ignore", "pipe", "pipe"],
    });
    const entry: Entry = {
      id: this.#next++,
      child,
      request,
      kept: { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) },
      startedAt: Date.now(),
      attached: 0,
      taken: 0n,
      exited: undefined,
      timedOut: false,
      generation: 0,
    };
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => {
        const code = "code" in error && error.code === "EACCES" ? Code.PermissionDenied : Code.NotFound;
        reject(new ConnectError(`${program}: ${error.message}`, code));
      });
    });
    this.#watch(entry);
    this.entries.set(entry.id, entry);
    return entry;
  }

  #watch(entry: Entry): void {
    const { child, request } = entry;
    for (const stream of ["stdout", "stderr"] as const) {
      const to = request.terminal === undefined ? stream : "stdout";
      child[stream]?.on("data", (data: Buffer) => {
        entry.kept[to] = Buffer.concat([entry.kept[to], data]);
        this.#wake();
      });
    }
    const limitMs = Number(request.lifetime?.timeoutMs ?? 0n);
    const timer = limitMs > 0 ? setTimeout(() => this.#expire(entry), limitMs) : undefined;
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      entry.exited = {
        ...(code === null ? {} : { code }),
        ...(signal === null ? {} : { signal: constants.signals[signal] }),
        timedOut: entry.timedOut,
        startedUnixMs: BigInt(entry.startedAt),
        wallUs: BigInt((Date.now() - entry.startedAt) * 1000),
      };
      this.#wake();
    });
  }

  #expire(entry: Entry): void {
    entry.timedOut = true;
    this.signal(entry.id, 15);
    setTimeout(() => this.signal(entry.id, 9), entry.request.lifetime?.graceMs || 5000).unref();
  }

  find(id: bigint): Entry {
    const entry = this.entries.get(id);
    if (entry === undefined) throw new ConnectError("there is no such process", Code.NotFound);
    return entry;
  }

  signal(id: bigint, signal: number): void {
    const { child, exited } = this.find(id);
    if (exited === undefined && child.pid !== undefined) {
      try {
        process.kill(-child.pid, signal);
      } catch {
        // it has just ended
      }
    }
  }

  async *attach(id: bigint, from: { stdout: number; stderr: number }, signal: AbortSignal): AsyncGenerator<Output> {
    const entry = this.find(id);
    const { generation } = entry;
    const at = { ...from, stdout: Math.max(from.stdout, this.droppedBytes) };
    signal.addEventListener("abort", () => this.#wake(), { once: true });
    entry.attached++;
    try {
      while (!signal.aborted) {
        if (entry.generation !== generation) {
          yield create(OutputSchema, { event: { case: "detached", value: {} } });
          return;
        }
        const { exited } = entry;
        let sent = false;
        for (const stream of ["stdout", "stderr"] as const) {
          const data = entry.kept[stream].subarray(at[stream], at[stream] + 65_536);
          if (data.length === 0) continue;
          yield create(OutputSchema, { event: { case: stream, value: { offset: BigInt(at[stream]), data } } });
          at[stream] += data.length;
          sent = true;
        }
        if (sent) continue;
        if (exited !== undefined) {
          yield create(OutputSchema, { event: { case: "exited", value: exited } });
          return;
        }
        await new Promise<void>((resolve) => this.#wakers.add(resolve));
      }
    } finally {
      entry.attached--;
    }
  }

  async input(id: bigint, offset: bigint, data: Uint8Array): Promise<bigint> {
    const entry = this.find(id);
    const { stdin } = entry.child;
    if (stdin === null || stdin.writableEnded || stdin.destroyed) {
      throw new ConnectError("standard input is closed", Code.FailedPrecondition);
    }
    if (offset > entry.taken) throw new ConnectError("bytes are missing", Code.InvalidArgument);
    const fresh = data.subarray(Number(entry.taken - offset));
    entry.taken += BigInt(fresh.length);
    if (fresh.length > 0) await new Promise<void>((resolve) => stdin.write(fresh, () => resolve()));
    return entry.taken;
  }

  killAll(): void {
    for (const id of this.entries.keys()) this.signal(id, 9);
  }

  #wake(): void {
    for (const wake of this.#wakers) wake();
    this.#wakers.clear();
  }
}
