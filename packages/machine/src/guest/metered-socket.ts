import { connect, type Socket } from "node:net";
import { Duplex } from "node:stream";
import type { FrameMeter } from "./meter.ts";

/**
 * A connection to the guest whose incoming bytes pass the meter first. When the meter asks for a pause the socket is
 * not read: the guest then waits in its own kernel, and the event loop is free for the other workspaces.
 */
export class MeteredSocket extends Duplex {
  readonly #socket: Socket;
  readonly #meter: FrameMeter;
  #timer: NodeJS.Timeout | undefined;
  #wanted = false;

  constructor(path: string, meter: FrameMeter) {
    super({ allowHalfOpen: false });
    this.#meter = meter;
    this.#socket = connect({ path });
    this.#socket.on("connect", () => this.emit("connect"));
    this.#socket.on("data", (chunk) => this.#take(chunk));
    this.#socket.on("end", () => this.push(null));
    this.#socket.on("error", (error) => this.destroy(error));
    this.#socket.on("close", () => this.destroy());
  }

  get bytesRead(): number {
    return this.#socket.bytesRead;
  }

  #take(chunk: Buffer): void {
    try {
      const waitMs = this.#meter.push(chunk);
      if (waitMs > 0) this.#rest(waitMs);
      this.#wanted = this.push(chunk);
      if (!this.#wanted) this.#socket.pause();
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #rest(ms: number): void {
    this.#socket.pause();
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
