import { readFileSync } from "node:fs";
import { join } from "node:path";
import { imageIndex, imageStorePaths } from "@exai/api/host";
import type { Client } from "@exai/sdk";

/** A name's digest, from the index of the image store that the profile names. What is signed is the digest. */
export function imageDigest(client: Client, name: string): string {
  const file = join(client.loaded.profile.imageStore, imageStorePaths.index);
  const digest = imageIndex.parse(JSON.parse(readFileSync(file, "utf8")))[name];
  if (digest === undefined) throw new Error(`there is no image '${name}' in ${file}`);
  return digest;
}
