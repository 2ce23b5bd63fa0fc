import type { SealedRecord } from "@exai/sdk";

/** Who writes a tenant's log on each host; the first record of each is written when it starts. */
const writers = ["broker", "channel"];

/**
 * Which records are missing. Each writer numbers its records without a hole and seals the number into each, so whoever hands
 * them on – the channel, the one process of ours that guests can reach – can leave some out, but not unseen. What is left out
 * at the very end shows only when more comes.
 */
export class Sequences {
  readonly #next = new Map<string, bigint>();
  readonly #fromFirst: boolean;

  /** @param fromFirst nothing was asked to be left out, so that each writer's first record is number 1 */
  constructor(fromFirst: boolean) {
    this.#fromFirst = fromFirst;
  }

  /** Writers of whom these hosts handed on nothing at all. */
  silent(hosts: readonly string[]): { host: string; writer: string }[] {
    if (!this.#fromFirst) return [];
    const all = hosts.flatMap((host) => writers.map((writer) => ({ host, writer })));
    return all.filter(({ host, writer }) => !this.#next.has(`${host} ${writer}`));
  }

  /** How many records of its writer are missing before this one. */
  missingBefore({ kind, host, writer, sequence }: Pick<SealedRecord, "kind" | "host" | "writer" | "sequence">): bigint {
    const key = `${host} ${writer}`;
    const expected = this.#next.get(key) ?? (this.#fromFirst ? 1n : sequence);
    // A break is told as such, and names the record that comes next.
    const broken = kind === "broken";
    this.#next.set(key, broken ? sequence : sequence + 1n);
    return broken || sequence <= expected ? 0n : sequence - expected;
  }
}
