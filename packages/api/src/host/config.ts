import { z } from "zod";
import { tenantId } from "../ids.ts";
import { absolutePath, hostAnchor, tenantAnchor } from "./anchors.ts";

const id = z.int().min(1).max(4_294_967_294);
const owner = z.strictObject({ uid: id, gid: id });

/** First line on the node agent's standard input; its end means that the supervisor is gone. */
export const nodeConfig = z.strictObject({
  /** `vms/` of the home and the run folder of the stack. */
  vmsFolder: absolutePath,
  runFolder: absolutePath,
  /** `images/` of the store: blobs are opened as `blobs/sha256/<hex>` below it. */
  imageStore: absolutePath,
  /** The static launcher and the VMM. */
  launcher: absolutePath,
  qemu: absolutePath,
  firecracker: absolutePath.optional(),
  /** Uids for VMs: first and count. */
  vmUids: z.strictObject({ first: id, count: z.int().min(1).max(65_536) }),
  broker: owner,
  /** One socket each, in `node/<tenant>/`, and the owner of that tenant's channel folders. */
  tenants: z.array(z.strictObject({ tenant: tenantId, channel: owner })).max(1000),
  /** 8 characters; names of namespaces and cgroups start with it. */
  stack: z.string().regex(/^[a-z2-7]{8}$/),
});
export type NodeConfig = z.infer<typeof nodeConfig>;

/** First line on the control plane's standard input. It holds public keys only. */
export const controlConfig = z.strictObject({
  database: z.union([
    z.strictObject({ kind: z.literal("sqlite"), file: absolutePath }),
    /** The connection string comes from a file that only the control plane can read. */
    z.strictObject({ kind: z.literal("postgresql"), urlFile: absolutePath }),
  ]),
  listen: z.union([
    z.strictObject({ kind: z.literal("unix"), path: absolutePath }),
    z.strictObject({ kind: z.literal("tcp"), address: z.string().max(64), port: z.int().min(0).max(65_535) }),
  ]),
  /** Whose tokens it takes. A tenant's intents are for hosts; it checks them too, to refuse early. */
  tenants: z.array(tenantAnchor).max(10_000),
  hosts: z.array(hostAnchor).min(1).max(1000),
});
export type ControlConfig = z.infer<typeof controlConfig>;
