import { statSync } from "node:fs";
import { ifThere } from "../files.ts";
import { bootId } from "../process.ts";

/**
 * Says whether a sealed file is still the one that was hashed. It lies in memory, is read-only and root's, and nobody had it
 * open for writing when it was sealed; so its bytes change only by a write, and a write changes these times, which
 * nobody can set (the second) but by setting the host's clock. It holds for one boot. A flipped bit in the host's memory does not show.
 */
export function stampOf(path: string): string | undefined {
  const found = ifThere(() => statSync(path, { bigint: true }));
  if (found === undefined) return undefined;
  const { dev, ino, size, mode, uid, mtimeNs, ctimeNs } = found;
  return [bootId(), dev, ino, size, mode, uid, mtimeNs, ctimeNs].join(" ");
}
