import { createHash } from "node:crypto";
import { type ImageManifest, imageManifest } from "@exai/api/host";
import { canonicalBytes } from "@exai/base";
import { MachineError } from "../errors.ts";

/** A manifest is a few hundred bytes. */
export const maxManifestBytes = 16_384;

/**
 * @param bytes the manifest as it is stored: canonical, so that one manifest has one digest
 * @throws MachineError `refused-image`
 */
export function parseManifest(bytes: Uint8Array): ImageManifest {
  if (bytes.length > maxManifestBytes) throw refuse(`the image's manifest is larger than ${maxManifestBytes} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw refuse("the image's manifest is not JSON", cause);
  }
  const parsed = imageManifest.safeParse(value);
  if (!parsed.success) throw refuse("the image's manifest is not of schema exai.image/v1", parsed.error);
  if (!canonicalBytes(parsed.data).equals(bytes)) throw refuse("the image's manifest is not in canonical form");
  return parsed.data;
}

/** SHA-256 of the canonical bytes, hex: the image's identity. */
export const manifestDigest = (manifest: ImageManifest): string =>
  createHash("sha256").update(canonicalBytes(manifest)).digest("hex");

export const refuse = (message: string, cause?: unknown): MachineError =>
  new MachineError("refused-image", message, cause === undefined ? undefined : { cause });
