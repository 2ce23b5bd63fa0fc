import { BaseError } from "./errors.ts";

const sizes: Readonly<Record<string, number>> = {
  "": 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

/**
 * Bytes of `512M`, `1GiB`, `1.5g` or a plain number of bytes; the letters mean powers of 1024.
 * @throws BaseError `invalid-size`
 */
export function parseBytes(text: string): number {
  const match = /^(\d{1,12}(?:\.\d{1,3})?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  const factor = sizes[(match?.[2] ?? "").toLowerCase()];
  if (match === null || factor === undefined) {
    throw new BaseError("invalid-size", `'${text.slice(0, 40)}' is not a size; write one like 512M or 10G`);
  }
  return Math.floor(Number(match[1]) * factor);
}

const durations: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * Milliseconds of `90s`, `5m`, `2h`, `1d`, `250ms`; a plain number means seconds.
 * @throws BaseError `invalid-duration`
 */
export function parseDurationMs(text: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)?$/i.exec(text.trim());
  const factor = durations[(match?.[2] ?? "s").toLowerCase()];
  if (match === null || factor === undefined) {
    throw new BaseError("invalid-duration", `'${text.slice(0, 40)}' is not a duration; write one like 90s, 5m or 2h`);
  }
  return Math.round(Number(match[1]) * factor);
}

/** `1.5 GiB`, for people. */
export function formatBytes(bytes: number): string {
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let at = 0;
  while (value >= 1024 && at < names.length - 1) {
    value /= 1024;
    at++;
  }
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${names[at]}`;
}
