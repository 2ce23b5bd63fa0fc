import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cachePaths, root } from "../build/paths.ts";
import type { Share } from "./arguments.ts";
import type { NestedHost } from "./host.ts";

/**
 * What suites read: the checkout, and of the cache what was built. The rest of it holds this machine's release key,
 * which is nobody else's.
 */
export const usualShares = (): Share[] => [
  { tag: "checkout", path: root },
  { tag: "images", path: cachePaths().images },
  { tag: "build", path: cachePaths().build },
];

/**
 * $1: /, then tag and path of each share. The agent mounts a guest's root without devices; a host's has them, and a jail
 * on it needs them. What is shared does not change meanwhile, so that everything may be cached. /tmp is the scratch disk.
 */
const script = `set -e
mount -o remount,bind,dev "$1"
shift
mount -t ext4 -o noatime,discard /dev/vdb /tmp
chmod 1777 /tmp
while [ $# -gt 0 ]; do
  mkdir -p "$2"
  mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro "$1" "$2"
  shift 2
done`;

export async function mountShares(host: NestedHost, shares: readonly Share[]): Promise<void> {
  await host.output(["sh", "-c", script, "sh", "/", ...shares.flatMap(({ tag, path }) => [tag, path])]);
  const key = join(cachePaths().release, "release.pub");
  if (existsSync(key)) await host.putFile(key, readFileSync(key));
}
