import { absolutePath, doctorSummary, hostAnchor, tenantAnchor } from "@exai/api/host";
import { z } from "zod";

/** First line on the broker's standard input. */
export const brokerConfig = z.strictObject({
  host: hostAnchor,
  /** PEM; the broker's own folder, 0600. */
  hostKeyFile: absolutePath,
  journalFolder: absolutePath,
  spoolFolder: absolutePath,
  spoolQuotaBytes: z.int().min(65_536),
  imageStore: absolutePath,
  releases: z.array(z.string().max(1000)).min(1).max(100),
  /** UNIX socket of the control plane. */
  controlSocket: absolutePath,
  tenants: z
    .array(z.strictObject({ anchor: tenantAnchor, nodeSocket: absolutePath, adminSocket: absolutePath }))
    .max(1000),
  vmm: z.enum(["qemu", "firecracker"]),
  accelerator: z.enum(["kvm", "tcg"]),
  /** The host's time-stamp counter, for guests that are emulated and can't measure it. */
  tscKhz: z.int().min(1).optional(),
  /** What may be promised to all VMs together. */
  capacity: z.strictObject({ memoryMib: z.int().min(1), vms: z.int().min(1) }),
  /** Refuses what is for development only: the stock kernel. */
  production: z.boolean(),
  /** What 'exai up' has found of this host, for the audit logs. */
  checked: doctorSummary.optional(),
  /** Where to answer the supervisor. */
  statusSocket: absolutePath,
});
export type BrokerConfig = z.infer<typeof brokerConfig>;
