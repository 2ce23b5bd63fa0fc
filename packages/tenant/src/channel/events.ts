import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type ReadOptions, readSpool, type SpoolItem } from "@exai/audit";

export interface WrittenItem {
  readonly writer: string;
  readonly item: SpoolItem;
}

interface Source {
  readonly writer: string;
  readonly items: AsyncGenerator<SpoolItem, void, void>;
  /** One item ahead, so that the oldest of all can be chosen. */
  ahead: SpoolItem | undefined;
  pending: Promise<void> | undefined;
  done: boolean;
  /** It had nothing when it was last waited for. */
  idle: boolean;
}

const patienceMs = 20;
const writerName = /^[a-z]{1,16}$/;

/**
 * The records of all writers of a tenant's spool folder, by time; each writer's own in its order. Holds one record of
 * each writer. With `follow`, what comes later comes as it arrives.
 */
export async function* readAllSpools(
  spoolFolder: string,
  options: ReadOptions & { signal: AbortSignal },
): AsyncGenerator<WrittenItem, void, void> {
  const sources = openSources(spoolFolder, options);
  try {
    while (!options.signal.aborted) {
      await fill(sources, options.follow === true);
      const next = oldest(sources);
      if (next?.ahead === undefined) return;
      yield { writer: next.writer, item: next.ahead };
      next.ahead = undefined;
    }
  } finally {
    // Each ends by the caller's signal, or stands at a yield; none is waited for.
    for (const source of sources) void source.items.return().catch(() => undefined);
  }
}

function openSources(folder: string, options: ReadOptions): Source[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && writerName.test(entry.name))
    .map(({ name }) => ({
      writer: name,
      items: readSpool(join(folder, name), options),
      ahead: undefined,
      pending: undefined,
      done: false,
      idle: false,
    }));
}

/** Gets every source one item ahead; when following, a source that has nothing now is not waited for again. */
async function fill(sources: readonly Source[], follow: boolean): Promise<void> {
  const pending: Promise<void>[] = [];
  const lively: Promise<void>[] = [];
  for (const source of sources) {
    if (source.done || source.ahead !== undefined) continue;
    if (source.pending === undefined) {
      source.pending = advance(source);
      source.pending.catch(() => undefined); // seen by who waits for it, which may be later
    }
    pending.push(source.pending);
    if (!source.idle) lively.push(source.pending);
  }
  if (!follow) await Promise.all(pending);
  else if (sources.every((source) => source.ahead === undefined)) await Promise.race(pending);
  else if (lively.length > 0) await giveTurn(sources, lively);
}

/** What is on the disk is delivered within a few milliseconds. */
async function giveTurn(sources: readonly Source[], lively: Promise<void>[]): Promise<void> {
  await Promise.race([Promise.all(lively), new Promise((resolve) => setTimeout(resolve, patienceMs))]);
  for (const source of sources) source.idle = source.pending !== undefined;
}

async function advance(source: Source): Promise<void> {
  const item = await source.items.next();
  source.pending = undefined;
  source.idle = false;
  if (item.done === true) source.done = true;
  else source.ahead = item.value;
}

function oldest(sources: readonly Source[]): Source | undefined {
  let best: Source | undefined;
  for (const source of sources) {
    if (source.ahead === undefined) continue;
    if (best?.ahead === undefined || time(source.ahead) < time(best.ahead)) best = source;
  }
  return best;
}

/** A break has no time: it comes at once, before the record that follows it. */
const time = (item: SpoolItem): number => (item.kind === "broken" ? 0 : item.ts);
