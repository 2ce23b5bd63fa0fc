import type { DataPlane } from "./data/plane.ts";

/** One sealed record; `@exai/audit` opens it with the tenant's log key. */
export interface SealedRecord {
  readonly writer: string;
  readonly sequence: bigint;
  readonly sealed: Uint8Array;
}

interface EventOptions {
  readonly follow?: boolean;
  readonly last?: number;
  readonly signal?: AbortSignal;
}

/** Records of several hosts: one after the other, or all at once when they are followed. */
export async function* readEvents(planes: readonly DataPlane[], options: EventOptions): AsyncGenerator<SealedRecord> {
  const { toSdkError } = await import("./data/errors.ts");
  const call = options.signal === undefined ? {} : { signal: options.signal };
  const open = (plane: DataPlane) =>
    plane.workspace.events({ follow: options.follow ?? false, last: options.last ?? 0 }, call);
  try {
    if (options.follow !== true) for (const plane of planes) yield* open(plane);
    else yield* merged(planes.map(open));
  } catch (error) {
    if (!options.signal?.aborted) throw toSdkError(error, "the events can't be read");
  }
}

async function* merged<T>(sources: readonly AsyncIterable<T>[]): AsyncGenerator<T> {
  const readers = sources.map((source) => source[Symbol.asyncIterator]());
  const next = (reader: AsyncIterator<T>) => reader.next().then((result) => ({ reader, result }));
  const waiting = new Map(readers.map((reader) => [reader, next(reader)]));
  while (waiting.size > 0) {
    const { reader, result } = await Promise.race(waiting.values());
    if (result.done) waiting.delete(reader);
    else {
      waiting.set(reader, next(reader));
      yield result.value;
    }
  }
}
