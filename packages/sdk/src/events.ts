import type { SealedEvent } from "@exai/api/workspace";
import type { DataPlane } from "./data/plane.ts";

/**
 * One record of a spool. `event`: sealed, `@exai/audit` opens it with the tenant's log key. `gap`: a signed count, in clear,
 * of events that found no space. `broken`: before it something was changed, cut out or lost.
 */
export interface SealedRecord {
  readonly kind: "event" | "gap" | "broken";
  /** By its pinned key. */
  readonly host: string;
  readonly writer: string;
  readonly sequence: bigint;
  readonly sealed: Uint8Array;
}

interface EventOptions {
  readonly follow?: boolean;
  readonly last?: number;
  readonly signal?: AbortSignal;
}

interface HostPlane {
  readonly host: string;
  readonly plane: DataPlane;
}

/** Records of several hosts: one after the other, or all at once when they are followed. */
export async function* readEvents(planes: readonly HostPlane[], options: EventOptions): AsyncGenerator<SealedRecord> {
  const { toSdkError } = await import("./data/errors.ts");
  const call = options.signal === undefined ? {} : { signal: options.signal };
  async function* open({ host, plane }: HostPlane): AsyncGenerator<SealedRecord> {
    const request = { follow: options.follow ?? false, last: options.last ?? 0 };
    for await (const each of plane.workspace.events(request, call)) yield record(host, each);
  }
  try {
    yield* options.follow === true ? merged(planes.map(open)) : inTurn(planes.map(open));
  } catch (error) {
    if (!options.signal?.aborted) throw toSdkError(error, "the events can't be read");
  }
}

const kinds = ["event", "gap", "broken"] as const;

const record = (host: string, { kind, writer, sequence, sealed }: SealedEvent): SealedRecord => ({
  kind: kinds[kind] ?? "broken",
  host,
  writer,
  sequence,
  sealed,
});

async function* inTurn<T>(sources: readonly AsyncIterable<T>[]): AsyncGenerator<T> {
  for (const source of sources) yield* source;
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
