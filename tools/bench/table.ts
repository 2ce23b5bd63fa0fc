import type { Result } from "./result.ts";
import { type Target, targets } from "./targets.ts";

/** The report for a person, one line a figure. */
export function renderTable(results: readonly Result[]): string {
  const rows = results.map(({ id, unit, value, reference, ratio, target, ok, spread }) => {
    const { at, what }: Target = targets[id];
    const wanted = `${at === "most" ? "≤" : "≥"} ${target}`;
    return [id, `${value} ${unit}`, `± ${spread}`, show(reference), show(ratio), wanted, ok ? "ok" : "SHORT", what];
  });
  const all = [["id", "value", "spread", "reference", "ratio", "target", "", "what"], ...rows];
  const widths = (all[0] ?? []).map((_, column) => Math.max(...all.map((row) => [...(row[column] ?? "")].length)));
  return all
    .map((row) =>
      row
        .map((cell, at) => pad(cell, widths[at] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const show = (value: number | null): string => (value === null ? "–" : String(value));
const pad = (text: string, width: number): string => text + " ".repeat(Math.max(0, width - [...text].length));
