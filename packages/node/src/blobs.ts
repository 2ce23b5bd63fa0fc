import { lstatSync } from "node:fs";
import { join } from "node:path";
import { NodeError } from "./errors.ts";
import { ifThere } from "./files.ts";

const writableByOthers = 0o022;

/**
 * The file of a blob. Its content was checked by who put it there; here it must be a regular file that only root can
 * have written.
 */
export function blobPath(imageStore: string, digest: string): string {
  const path = join(imageStore, "blobs", "sha256", digest);
  const found = ifThere(() => lstatSync(path));
  if (found === undefined) throw new NodeError("no-blob", `there is no blob sha256:${digest} on this host`);
  if (!found.isFile() || found.uid !== 0 || (found.mode & writableByOthers) !== 0) {
    throw new NodeError("no-blob", `the blob sha256:${digest} is not a regular file that only root can write`);
  }
  return path;
}
