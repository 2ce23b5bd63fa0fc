import { type BenchId, type Target, targets } from "./targets.ts";

/** One figure as `--json` prints it. `spread` is the largest of the rounds less the smallest, in the same unit. */
export interface Result {
  readonly id: BenchId;
  readonly unit: string;
  readonly value: number;
  /** What the reference run gave, in its own unit; absent where there is none. */
  readonly reference: number | null;
  readonly ratio: number | null;
  readonly target: number;
  readonly ok: boolean;
  readonly spread: number;
}

export const median = (values: readonly number[]): number => percentile(values, 50);

/** Nearest rank. @throws RangeError without values */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.min(sorted.length - 1, Math.ceil((percent / 100) * sorted.length) - 1)] ?? sorted[0];
  if (upper === undefined) throw new RangeError("no values");
  if (percent !== 50 || sorted.length % 2 === 1) return upper;
  return (upper + (sorted[sorted.length / 2] ?? upper)) / 2;
}

export const spread = (values: readonly number[]): number => Math.max(...values) - Math.min(...values);

/** @param rounds the figure of each round, in the unit of its target */
export function result(
  id: BenchId,
  rounds: readonly number[],
  compared: { reference?: number; ratio?: number } = {},
): Result {
  const { unit, target, at }: Target = targets[id];
  const value = rounded(median(rounds));
  return {
    id,
    unit,
    value,
    reference: compared.reference === undefined ? null : rounded(compared.reference),
    ratio: compared.ratio === undefined ? null : rounded(compared.ratio),
    target,
    ok: at === "most" ? value <= target : value >= target,
    spread: rounded(spread(rounds)),
  };
}

/** Each round of ours against the reference that was taken in turn with it; `value` is the median of the ratios. */
export function ratioResult(id: BenchId, ours: readonly number[], references: readonly number[]): Result {
  if (ours.length !== references.length) throw new RangeError("a round without its reference");
  const ratios = ours.map((each, at) => each / (references[at] ?? Number.NaN));
  return result(id, ratios, { reference: median(references), ratio: median(ratios) });
}

const rounded = (value: number): number => Number(value.toPrecision(4));
