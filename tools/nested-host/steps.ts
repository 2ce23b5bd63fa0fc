import { linkSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type Cached, cached, currentOf, makeCurrent } from "../build/cached.ts";
import type { FetchOptions } from "../build/debs.ts";
import { initramfs } from "../build/initramfs.ts";
import { readLock } from "../build/recipe.ts";
import { buildRootfs, type RootfsSpec, rootfsFormat } from "../build/rootfs.ts";
import { stockModules, unpackKernel } from "../build/stock.ts";
import { hostModules } from "./modules.ts";

/** Not packed: the file is read once, into a page cache that is saved with the host, and unpacking is emulated work. */
const rootfs: RootfsSpec = { kind: "nested-host-rootfs", recipe: "nested-host", packing: [], version: "v1" };

export const buildHostRootfs = (options: FetchOptions): Promise<Cached> => buildRootfs(rootfs, options);

export const unpackHostKernel = (options: FetchOptions): Promise<Cached> =>
  unpackKernel("nested-host-kernel", readLock("nested-host").kernel, hostModules, options);

/** The guest agent is the nested host's init too: what runs there is driven over the same channel as in any guest. */
export function packHostInitramfs(agent: string, kernelFolder: string): Promise<Cached> {
  const init = readFileSync(agent);
  const modules = stockModules(kernelFolder);
  const inputs = [init, ...modules.flatMap(({ name, content }) => [name, content]), "v2"];
  return cached("nested-host-initramfs", inputs, async (folder) => {
    writeFileSync(join(folder, "initramfs"), initramfs(init, modules));
  });
}

/** What a nested host boots from, in one folder. */
export const hostFiles = { kernel: "vmlinux", initramfs: "initramfs", rootfs: `rootfs.${rootfsFormat}` } as const;
type HostFile = keyof typeof hostFiles;

export const hostFolder = (): string => currentOf("nested-host");

/** @param from the folders of the three results */
export async function joinHost(from: Readonly<Record<HostFile, string>>): Promise<Cached> {
  const parts = Object.entries(hostFiles) as [HostFile, string][];
  // The folders' names are their contents' keys.
  const result = await cached("nested-host", [...parts.map(([name]) => basename(from[name])), "v1"], async (folder) => {
    for (const [name, file] of parts) linkSync(join(from[name], file), join(folder, file));
  });
  makeCurrent("nested-host", result);
  return result;
}
