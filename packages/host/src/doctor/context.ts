import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type FloorState, type ImageManifest, imageIndex, imageStorePaths } from "@exai/api/host";
import { describeError } from "@exai/base";
import { type KvmAnswer, loadManifest, probeKvm } from "@exai/machine";
import { bootFilesOf } from "@exai/machine/image";
import { releaseKeysToBe } from "../enrol/releases.ts";
import { findHome } from "../home/home.ts";
import { ownFolder } from "../home/own-folder.ts";
import type { HomePaths } from "../home/paths.ts";
import { type Firecracker, type FirecrackerChoice, findFirecracker } from "./firecracker.ts";
import { requireOwnFile } from "./own-file.ts";
import { type HostSystem, thisSystem } from "./requirements.ts";

/** What checks are told about the stack to be; what they ask of the host is HostFacts. */
export interface DoctorContext {
  /** Absolute. */
  readonly home: string;
  readonly imageStore: string;
  readonly system: HostSystem;
  /** Undefined where there is none; a text says why the one that is there is not taken. */
  readonly firecracker: Firecracker | string | undefined;
  readonly images: readonly GuestImage[];
  /** What root executes, of what there is. */
  readonly executables: readonly string[];
  /** Both @throws HostError when somebody else could change it */
  requireOwn(path: string): void;
  requireOwnHome(path: string): string;
  probeKvm(): Promise<KvmAnswer>;
  /** Tried with a partition of CPUs that is gone again. */
  hostFloor(): Promise<FloorState>;
  /** How long that VMM may take until it runs its guest. */
  readonly settleMs: number;
  /** Starts one microVM for the length of a look at the uid of its VMM; undefined where something for it is lacking. */
  probeVmm: (<T>(look: (uid: number) => Promise<T>) => Promise<T>) | undefined;
}

interface GuestImage {
  readonly name: string;
  /** Undefined where no enrolled release key signed it, or it is no image. */
  readonly manifest: ImageManifest | undefined;
}

export interface DoctorOptions {
  home: string;
  imageStore: string;
  firecracker?: FirecrackerChoice | undefined;
}

export async function doctorContext(options: DoctorOptions): Promise<DoctorContext> {
  const { home, imageStore } = options;
  const paths = ownHome(home);
  const releaseKeys = releaseKeysToBe(imageStore, paths?.releases);
  const firecracker = await findFirecracker(options.firecracker).catch((error: unknown) => describeError(error));
  const system = thisSystem();
  const images = await guestImages(imageStore, releaseKeys);
  const { launcher, qemu } = system;
  const ours = images.find(({ manifest }) => manifest?.kernelFlavor === "exai")?.manifest;
  const vmm = typeof firecracker === "object" ? [firecracker.path] : [];
  return {
    home,
    imageStore,
    system,
    firecracker,
    images,
    executables: [process.execPath, import.meta.filename, system.launcher, system.qemu, ...vmm].filter(existsSync),
    requireOwn: requireOwnFile,
    requireOwnHome: (path) => ownFolder(path, "allow"),
    hostFloor: async () => (await import("@exai/node")).hostFloor(),
    probeKvm: once(() => probeKvm({ imageStore, releaseKeys, memoryFile: paths?.probe })),
    probeVmm:
      typeof firecracker !== "object" || ours === undefined
        ? undefined
        : async (look) => {
            // It starts a node agent: nobody else needs what that loads.
            const { withProbeVmm } = await import("./probe-vmm.ts");
            return await withProbeVmm({ firecracker, imageStore, launcher, qemu, boot: bootFilesOf(ours) }, look);
          },
    settleMs: 10_000,
  };
}

function once<T>(find: () => Promise<T>): () => Promise<T> {
  let found: Promise<T> | undefined;
  return () => {
    found ??= find();
    return found;
  };
}

/** Answers are kept, and anchors read, in a home that root alone can change; any other is left alone. */
function ownHome(path: string): HomePaths | undefined {
  try {
    return findHome(path).paths;
  } catch {
    return undefined;
  }
}

async function guestImages(store: string, releaseKeys: readonly string[]): Promise<GuestImage[]> {
  const text = await readFile(join(store, imageStorePaths.index), "utf8").catch(() => "{}");
  const index = imageIndex.safeParse(jsonOf(text));
  return await Promise.all(
    Object.entries(index.data ?? {}).map(async ([name, digest]) => ({
      name,
      manifest: await loadManifest(store, digest, releaseKeys).catch(() => undefined),
    })),
  );
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
