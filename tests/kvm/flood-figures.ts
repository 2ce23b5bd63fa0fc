/** What a flood cost those beside it. */

/** Who may take CPU time: the flood, the quiet workspace beside it, our channel and node agent, and who measures. */
export const parties = ["loud", "quiet", "channel", "agent", "client"] as const;
export type Shares = Record<(typeof parties)[number], number>;

export interface Measured {
  /** p99 of the neighbour's exec in ms, alone and beside the flood, over the rounds until then. */
  p99Ms: { alone: number; beside: number }[];
  /** Growth in MiB. */
  channelMib: number;
  keeperMib: number;
  agentMib: number;
  /** CPU time of the time that passed, in the last round. A flood that has ended, or never began, is not loud. */
  shares: Shares;
  logBytes: number;
}

export interface Samples {
  readonly alone: number[];
  readonly beside: number[];
}

/** What is asked of the newest figures: they hold those before. */
export function holds(p99Ms: Measured["p99Ms"]): boolean {
  const last = p99Ms.at(-1);
  return last !== undefined && last.beside <= 2 * last.alone;
}

export const sharesOf = (share: (party: keyof Shares) => number): Shares =>
  Object.fromEntries(parties.map((party) => [party, Number(share(party).toFixed(3))])) as Shares;
