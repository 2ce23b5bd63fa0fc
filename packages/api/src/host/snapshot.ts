import { z } from "zod";
import { lifetimeId, sha256Hex, workspaceId } from "../ids.ts";
import { limits } from "../limits.ts";

/** A snapshot is known by the workspace and the lifetime that was saved. */
export const snapshotRef = z.strictObject({ workspace: workspaceId, lifetime: lifetimeId });
export type SnapshotRef = z.infer<typeof snapshotRef>;

const words = z.string().max(200);
const fileDigest = z.strictObject({
  sizeBytes: z.int().min(0),
  /** Bytes of a piece. */
  chunkBytes: z.int().min(4096),
  /** SHA-256 over the SHA-256 of each piece, the last of which may be shorter. */
  sha256: sha256Hex,
});
/** `stamp`: what the kernel said of the file when it had been hashed; whoever writes to it changes that. */
const sealedFile = fileDigest.extend({ stamp: words });
export type SealedFile = z.infer<typeof sealedFile>;
export type FileDigest = z.infer<typeof fileDigest>;

/** What made a snapshot: the same must load it. */
export const snapshotOrigin = z.strictObject({
  vmm: z.strictObject({ name: z.enum(["qemu", "firecracker"]), version: words, sha256: sha256Hex }),
  cpu: z.strictObject({
    vendor: words,
    family: words,
    model: words,
    stepping: words,
    name: words,
    /** Of the sorted flags, one space between. */
    flagsSha256: sha256Hex,
  }),
  /** For the reader; not compared. */
  hostKernel: words,
  machine: z.strictObject({
    cpus: z.int().min(limits.cpus.min).max(limits.cpus.max),
    memoryMib: z.int().min(limits.memoryMib.min).max(limits.memoryMib.max),
    kvm: z.boolean(),
    files: z.array(z.strictObject({ blob: sha256Hex, target: words })).max(8),
    /** Of the VMM's arguments and configuration. */
    devicesSha256: sha256Hex,
  }),
});
export type SnapshotOrigin = z.infer<typeof snapshotOrigin>;

export const snapshotRecord = z.strictObject({
  version: z.literal(1),
  sizeMib: z.int().min(1),
  origin: snapshotOrigin,
  /** Once it is sealed. QEMU's state holds the memory too. */
  files: z.strictObject({ state: sealedFile, memory: sealedFile.optional() }).optional(),
});
export type SnapshotRecord = z.infer<typeof snapshotRecord>;
