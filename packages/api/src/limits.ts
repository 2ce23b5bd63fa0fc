/** Limits of a workspace; the host refuses what is outside, whatever the control plane says. */
export const limits = {
  cpus: { min: 1, max: 32 },
  /** MiB of guest memory. Below 96 the base image does not start Python. */
  memoryMib: { min: 96, max: 262_144 },
  /** MiB of the writable disk. */
  diskMib: { min: 64, max: 1_048_576 },
  /** Seconds until the host destroys the workspace by itself; 0 means never. */
  ttlSeconds: { min: 0, max: 31_536_000 },
  labels: 32,
  nameLength: 63,
  /** Bytes of a signed intent or token as it travels. */
  jwsBytes: 8192,
} as const;
