import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type ImageManifest, imageIndex, imageStorePaths } from "@exai/api/host";
import type { BootFiles } from "@exai/machine";
import { bootFilesOf, parseManifest } from "@exai/machine/image";
import { cachePaths } from "../../tools/build/paths.ts";

/** Suites of this folder need a host whose KVM works: this machine, or the nested host that it starts. */

/** Where a suite leaves what shall be kept of it: logs, evidence. The runner of these suites names the folder. */
export function keptFolder(): string {
  const folder = process.env["EXAI_KVM_OUT"];
  if (folder === undefined)
    throw new Error("these suites run by 'make test-kvm', which finds or starts a host with KVM");
  return folder;
}

export const imageStore = cachePaths().images;

export interface BuiltImage {
  readonly manifest: ImageManifest;
  readonly kernel: string;
  readonly initramfs: string;
  readonly rootfs: string;
}

/** A built image by its name, unverified: hashing its root file system takes half a minute under emulation. */
export function builtImage(name: string): BuiltImage {
  const digest = imageIndex.parse(JSON.parse(readFileSync(join(imageStore, imageStorePaths.index), "utf8")))[name];
  if (digest === undefined) throw new Error(`the image '${name}' is not built; run 'make build'`);
  const manifest = parseManifest(readFileSync(join(imageStore, imageStorePaths.manifest(digest))));
  const blob = ({ sha256 }: { sha256: string }): string => join(imageStore, imageStorePaths.blob(sha256));
  return {
    manifest,
    kernel: blob(manifest.kernel),
    initramfs: blob(manifest.initramfs),
    rootfs: blob(manifest.rootfs),
  };
}

/** The digests of the same image, as a driver's planning function takes them. */
export const bootFiles = (name: string): BootFiles => bootFilesOf(builtImage(name).manifest);
