import { setTimeout as delay } from "node:timers/promises";
import { isConnectionFailure, toSdkError } from "../data/errors.ts";
import type { PlaneSource } from "../data/plane.ts";

/** Bytes of one SendInput, as the contract has it. */
const sliceBytes = 65_536;
const patienceMs = 20_000;

/**
 * A program's standard input. Writes are sent in order, one at a time: the guest's answer is the back-pressure. Each
 * carries its offset, so a retry after a broken connection puts no byte in twice.
 */
export class StandardInput {
  readonly #plane: PlaneSource;
  readonly #process: bigint;
  #offset: bigint | undefined;
  #last: Promise<void> = Promise.resolve();

  /** `offset`: bytes that the program has taken before; unknown (undefined) for one that somebody else started. */
  constructor(plane: PlaneSource, process: bigint, offset: bigint | undefined) {
    this.#plane = plane;
    this.#process = process;
    this.#offset = offset;
  }

  write(data: Uint8Array): Promise<void> {
    return this.#inOrder(async () => {
      for (let from = 0; from < data.length; from += sliceBytes) {
        await persist(() => this.#send(data.subarray(from, from + sliceBytes)));
      }
    }, "the input was not written");
  }

  close(): Promise<void> {
    return this.#inOrder(async () => {
      await persist(async () => (await this.#plane()).processes.closeStdin({ process: this.#process }));
    }, "the standard input was not closed");
  }

  async #send(data: Uint8Array): Promise<void> {
    // Another client may have written before: an empty write asks for the guest's count.
    const { processes } = await this.#plane();
    this.#offset ??= (await processes.sendInput({ process: this.#process })).offset;
    const answer = await processes.sendInput({ process: this.#process, offset: this.#offset, data });
    this.#offset = answer.offset;
  }

  #inOrder(step: () => Promise<void>, what: string): Promise<void> {
    const done = this.#last.then(step).catch((error) => {
      throw toSdkError(error, what);
    });
    this.#last = done.catch(() => undefined);
    return done;
  }
}

async function persist(step: () => Promise<unknown>): Promise<void> {
  const until = performance.now() + patienceMs;
  for (;;) {
    try {
      await step();
      return;
    } catch (error) {
      if (!isConnectionFailure(error) || performance.now() > until) throw error;
    }
    await delay(100);
  }
}
