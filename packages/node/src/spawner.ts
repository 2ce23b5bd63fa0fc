import type { Readable, Writable } from "node:stream";
import { z } from "zod";

interface SpawnRequest {
  readonly file: string;
  readonly args: readonly string[];
  readonly input: string;
  readonly timeoutMs: number;
}

const ended = z.union([
  z.strictObject({
    id: z.int(),
    /** Null when a signal ended it. */
    code: z.int().nullable(),
    /** It took longer than its time and was killed. */
    late: z.boolean(),
    stdout: z.string(),
    stderr: z.string(),
  }),
  z.strictObject({ id: z.int(), error: z.string() }),
]);
export type Ended = Exclude<z.infer<typeof ended>, { error: string }>;

/** The other end of `exai-launcher spawner`: native/launcher/src/spawner.rs says what it is good for. */
export class Spawner {
  readonly #requests: Writable;
  readonly #waiting = new Map<number, PromiseWithResolvers<Ended | undefined>>();
  #last = 0;
  #rest = "";
  #gone = false;

  constructor(requests: Writable, answers: Readable) {
    this.#requests = requests;
    requests.on("error", () => this.#end());
    answers.setEncoding("utf8").on("data", (text: string) => this.#take(text));
    answers.on("close", () => this.#end());
  }

  /** False when it has ended: whoever waited was told. */
  get serves(): boolean {
    return !this.#gone;
  }

  /**
   * Runs a program to its end. @returns undefined when it could not be started, or when the spawner ended before it had
   * told how it went: then nobody knows whether it ran
   */
  run(request: SpawnRequest): Promise<Ended | undefined> {
    if (this.#gone) return Promise.resolve(undefined);
    const id = ++this.#last;
    const answer = Promise.withResolvers<Ended | undefined>();
    this.#waiting.set(id, answer);
    this.#requests.write(`${JSON.stringify({ id, ...request })}\n`);
    return answer.promise;
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const answer = parsed(line);
      // Its stream can't be made sense of any more: whoever waits starts what it wants by itself.
      if (answer === undefined) return void this.#end();
      const waiting = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      waiting?.resolve("error" in answer ? undefined : answer);
    }
  }

  #end(): void {
    this.#gone = true;
    this.#requests.destroy();
    for (const { resolve } of this.#waiting.values()) resolve(undefined);
    this.#waiting.clear();
  }
}

function parsed(line: string): z.infer<typeof ended> | undefined {
  try {
    return ended.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
