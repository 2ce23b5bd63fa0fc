import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { cachePaths } from "../build/paths.ts";
import type { NestedHost } from "./host.ts";

/**
 * Node's cache of compiled code, kept from one nested host to the next: compiling Vitest and our own packages takes an
 * emulated Node ten seconds. Node checks each entry against its source, so that an old or a torn one costs time only.
 */
export const codeCache = {
  /** Where Node in the nested host finds it. */
  inside: "/run/exai-code/all",
  fresh: "/run/exai-code/fresh",
} as const;

const mostBytes = 96 * 2 ** 20;

/** $1: what is kept, $2: what will be new, $3: both. */
const script = `mkdir -p "$2" "$2.work" "$3"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$2.work" "$3"`;

const keptFolder = (): string => join(cachePaths().build, "nested-host-code");

/** @param host sees the build cache under its own path */
export async function offerCodeCache(host: NestedHost): Promise<void> {
  mkdirSync(keptFolder(), { recursive: true });
  await host.output(["sh", "-ec", script, "sh", keptFolder(), codeCache.fresh, codeCache.inside]);
}

export async function keepCodeCache(host: NestedHost): Promise<void> {
  // Entries of sources that have changed since are never asked for again.
  if (sizeOf(keptFolder()) > mostBytes) rmSync(keptFolder(), { recursive: true });
  await host.copyOut(codeCache.fresh, keptFolder());
}

const sizeOf = (folder: string): number =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
