import { connect, type Socket } from "node:net";
import { MachineError } from "../../errors.ts";
import { printable } from "../printable.ts";

/** A line of QEMU's monitor. QEMU is jailed, and may be in a guest's hands: nothing it says is taken on trust. */
const longestLine = 65_536;
const answerMs = 5000;
/** What comes before an answer, events among it; each is read, and who sends them without end is cut off. */
const mostBytes = 1 << 20;

/** The commands that are used; QEMU knows hundreds. */
export type QmpCommand =
  | { readonly execute: "query-status" }
  | { readonly execute: "stop" }
  | { readonly execute: "cont" }
  | { readonly execute: "quit" }
  | { readonly execute: "query-balloon" }
  /** Guest memory in bytes that should remain. */
  | { readonly execute: "balloon"; readonly arguments: { readonly value: number } }
  | { readonly execute: "migrate-set-parameters"; readonly arguments: { readonly "max-bandwidth": number } }
  | { readonly execute: "migrate"; readonly arguments: { readonly uri: string } }
  | { readonly execute: "query-migrate" };

export interface Qmp extends Disposable {
  /** @throws MachineError `monitor` */
  execute(command: QmpCommand): Promise<unknown>;
  /** QEMU's own words for what it does: `running`, `paused`, `shutdown`, … */
  status(): Promise<string>;
  /** Bytes of memory that the guest has. */
  balloon(): Promise<number>;
  /** How far a `migrate` is: `setup`, `active`, `completed`, `failed`, … */
  migration(): Promise<string>;
}

/**
 * A client of QEMU's control protocol (docs/interop/qmp-spec.txt): one command at a time, bounded lines and times.
 * @throws MachineError `monitor`
 */
export async function connectQmp(path: string): Promise<Qmp> {
  const link = new QmpLink(path);
  try {
    await link.greeting();
    await link.request({ execute: "qmp_capabilities" });
  } catch (error) {
    link[Symbol.dispose]();
    throw error;
  }
  const execute = (command: QmpCommand) => link.request(command);
  return {
    execute,
    status: async () => text(field(await execute({ execute: "query-status" }), "status")),
    migration: async () => text(field(await execute({ execute: "query-migrate" }), "status")),
    balloon: async () => count(field(await execute({ execute: "query-balloon" }), "actual")),
    [Symbol.dispose]: () => link[Symbol.dispose](),
  };
}

interface Waiting {
  resolve(line: object): void;
  reject(error: MachineError): void;
}

class QmpLink implements Disposable {
  readonly #socket: Socket;
  #held = Buffer.alloc(0);
  #waiting: Waiting | undefined;
  #greeted: object | undefined;
  #broken: MachineError | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #nextId = 1;
  #bytes = 0;

  constructor(path: string) {
    this.#socket = connect({ path });
    this.#socket.on("data", (chunk) => this.#take(chunk));
    this.#socket.on("error", (cause) => this.#fail(new MachineError("monitor", "the monitor broke", { cause })));
    this.#socket.on("close", () => this.#fail(new MachineError("monitor", "the monitor was closed")));
  }

  greeting(): Promise<object> {
    return this.#greeted === undefined ? this.#answer() : Promise.resolve(this.#greeted);
  }

  request(command: object): Promise<unknown> {
    const next = this.#queue.then(() => this.#request(command));
    this.#queue = next.catch(() => undefined);
    return next;
  }

  async #request(command: object): Promise<unknown> {
    const id = this.#nextId++;
    this.#socket.write(`${JSON.stringify({ ...command, id })}\n`);
    const answer = await this.#answer();
    if (field(answer, "id") !== id) throw this.#fail(new MachineError("monitor", "the monitor answers out of turn"));
    const error = field(answer, "error");
    if (error !== undefined) {
      const words = field(error, "desc");
      const why = typeof words === "string" ? printable(words) : "it does not say why";
      throw new MachineError("monitor", `QEMU refused: ${why}`);
    }
    return field(answer, "return");
  }

  async #answer(): Promise<object> {
    if (this.#broken !== undefined) throw this.#broken;
    const { promise, resolve, reject } = Promise.withResolvers<object>();
    this.#waiting = { resolve, reject };
    this.#bytes = 0;
    const timer = setTimeout(
      () => this.#fail(new MachineError("monitor", `the monitor did not answer within ${answerMs} ms`)),
      answerMs,
    );
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting = undefined;
    }
  }

  #take(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > mostBytes) return void this.#fail(new MachineError("monitor", "the monitor sends without end"));
    this.#held = Buffer.concat([this.#held, chunk]);
    for (let end = this.#held.indexOf(10); end >= 0; end = this.#held.indexOf(10)) {
      const line = parseLine(this.#held.subarray(0, end));
      this.#held = this.#held.subarray(end + 1);
      if (line === undefined) return void this.#fail(new MachineError("monitor", "the monitor does not speak QMP"));
      this.#line(line);
    }
    if (this.#held.length > longestLine) this.#fail(new MachineError("monitor", "the monitor sent too long a line"));
  }

  #line(line: object): void {
    // Events are not used; whoever wants to know the state asks.
    if ("event" in line) return;
    if ("QMP" in line) this.#greeted = line;
    else if (this.#waiting === undefined) this.#fail(new MachineError("monitor", "the monitor answers out of turn"));
    this.#waiting?.resolve(line);
  }

  #fail(error: MachineError): MachineError {
    this.#broken ??= error;
    this.#socket.destroy();
    this.#waiting?.reject(this.#broken);
    return this.#broken;
  }

  [Symbol.dispose](): void {
    this.#fail(new MachineError("monitor", "the monitor was closed by us"));
  }
}

function parseLine(bytes: Buffer): object | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

const field = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;

function text(value: unknown): string {
  if (typeof value === "string" && value.length < 100) return value;
  throw new MachineError("monitor", "the monitor gave an answer of another kind");
}

function count(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new MachineError("monitor", "the monitor gave an answer of another kind");
}
