import { readFileSync } from "node:fs";
import { join } from "node:path";
import { sha256Hex } from "@exai/api";
import { imageIndex, imageStorePaths } from "@exai/api/host";
import { errorCode } from "@exai/base";
import { CliError, usage } from "./errors.ts";

export interface NamedImage {
  readonly name: string;
  readonly digest: string;
}

/** @throws CliError `failed` when the store has no index */
export function listImages(store: string): NamedImage[] {
  const file = join(store, imageStorePaths.index);
  try {
    const images = imageIndex.parse(JSON.parse(readFileSync(file, "utf8")));
    return Object.entries(images).map(([name, digest]) => ({ name, digest }));
  } catch (cause) {
    const why = errorCode(cause) === "ENOENT" ? "is missing" : "is not a valid index";
    throw new CliError("failed", `${file} ${why}; run 'make build' to make the images`, { cause });
  }
}

/** The digest of a name, or a digest as it stands. @throws CliError `usage` */
export function resolveImage(store: string, reference: string): string {
  if (sha256Hex.safeParse(reference).success) return reference;
  const images = listImages(store);
  const found = images.find((image) => image.name === reference);
  if (found !== undefined) return found.digest;
  throw usage(`there is no image '${reference}'; there is ${images.map((image) => image.name).join(", ") || "none"}`);
}
