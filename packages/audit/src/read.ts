import { setTimeout as delay } from "node:timers/promises";
import { FolderChanges } from "./folder-changes.ts";
import { SpoolReader } from "./reader.ts";
import type { SpoolRecord } from "./record.ts";

export interface ReadOptions {
  /** Wait for more, until the signal fires. */
  follow?: boolean;
  /** Only the newest N; 0 means all that is kept. */
  last?: number;
  signal?: AbortSignal;
}

/** `broken`: before the record with this sequence something was changed, cut out or lost. */
export type SpoolItem = SpoolRecord | { readonly kind: "broken"; readonly sequence: number };

const pauseMs = 20;
const yieldEvery = 64;

/**
 * The records of a spool in order, while its writer may go on writing. Holds one chunk of a file, whatever the spool's
 * size. Ends by itself without `follow`, else when the signal fires.
 */
export async function* readSpool(folder: string, options: ReadOptions = {}): AsyncGenerator<SpoolItem, void, void> {
  const follow = options.follow === true;
  using reader = new SpoolReader(folder);
  if ((options.last ?? 0) > 0) reader.skipTo(reader.lastSequence() - (options.last ?? 0) + 1);
  using changes = new FolderChanges(folder, follow);
  for (let count = 1; !options.signal?.aborted; count++) {
    const item = reader.next();
    // Files are read synchronously: let other work in between.
    if (count % yieldEvery === 0) await new Promise(setImmediate);
    if (item !== undefined) yield item;
    else if (reader.inDoubt) await delay(pauseMs);
    else if (follow) await changes.wait(options.signal);
    else return;
  }
}
