import { connect, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { invariant } from "@exai/base";
import type { FrameMeter } from "./meter.ts";

const readBytes = 65_536;

/**
 * A connection to the guest whose incoming bytes pass the meter first. When the meter asks for a pause the socket is
 * not read: the guest then waits in its own kernel, and the event loop is free for the other workspaces.
 *
 * All reads go to one buffer, since a fresh one for each makes garbage faster than it is collected. The HTTP/2 engine
 * copies what it is given.
 */
export class MeteredSocket extends Duplex {
  readonly #socket: Socket;
  readonly #meter: FrameMeter;
  #timer: NodeJS.Timeout | undefined;
  #wanted = false;

  constructor(path: string, meter: FrameMeter) {
    super({ allowHalfOpen: false });
    this.#meter = meter;
    const buffer = Buffer.allocUnsafeSlow(readBytes);
    this.#socket = connect({ path, onread: { buffer, callback: (length) => this.#take(buffer.subarray(0, length)) } });
    this.#socket.on("connect", () => this.emit("connect"));
    this.#socket.on("end", () => this.push(null));
    this.#socket.on("error", (error) => this.destroy(error));
    this.#socket.on("close", () => this.destroy());
  }

  get bytesRead(): number {
    return this.#socket.bytesRead;
  }

  /** Returns whether the socket may be read on. */
  #take(chunk: Buffer): boolean {
    let waitMs: number;
    try {
      waitMs = this.#meter.push(chunk);
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
      return false;
    }
    // Handed on at once while the engine listens; what must queue gets memory of its own.
    const direct = this.readableFlowing === true && this.readableLength === 0;
    this.#wanted = false;
    if (this.push(direct ? chunk : Buffer.from(chunk))) this.#wanted = true;
    invariant(!direct || this.readableLength === 0, "a piece of the read buffer was queued");
    if (waitMs > 0) this.#rest(waitMs);
    return this.#wanted && this.#timer === undefined;
  }

  #rest(ms: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#wanted) this.#socket.resume();
    }, ms);
  }

  override _read(): void {
    this.#wanted = true;
    if (this.#timer === undefined) this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    // One system call: HTTP/2 hands out a frame's header and its payload apart.
    this.#socket.cork();
    chunks.forEach(({ chunk }, at) => {
      if (at === chunks.length - 1) this.#socket.write(chunk, done);
      else this.#socket.write(chunk);
    });
    this.#socket.uncork();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer);
    this.#socket.destroy();
    done(error);
  }
}
