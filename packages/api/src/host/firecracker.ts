import { z } from "zod";

// Firecracker's API as its specification has it (src/firecracker/swagger/firecracker.yaml of 1.12), as far as it is used.

/** A token bucket: `size` tokens, filled again in `refill_time` milliseconds, and `one_time_burst` more at the start. */
const tokenBucket = z.strictObject({
  size: z.int().min(1),
  refill_time: z.int().min(1),
  one_time_burst: z.int().min(0).optional(),
});
const rateLimiter = z.strictObject({ bandwidth: tokenBucket.optional(), ops: tokenBucket.optional() });

const drive = z.strictObject({
  drive_id: z.string().regex(/^\w{1,64}$/),
  path_on_host: z.string(),
  is_root_device: z.boolean(),
  is_read_only: z.boolean(),
  cache_type: z.enum(["Unsafe", "Writeback"]),
  io_engine: z.enum(["Sync", "Async"]),
  rate_limiter: rateLimiter,
});

/** The file that `--config-file` names. */
export const firecrackerConfig = z.strictObject({
  "boot-source": z.strictObject({ kernel_image_path: z.string(), initrd_path: z.string(), boot_args: z.string() }),
  "machine-config": z.strictObject({
    vcpu_count: z.int().min(1).max(32),
    mem_size_mib: z.int().min(1),
    smt: z.boolean(),
  }),
  drives: z.array(drive),
  vsock: z.strictObject({ guest_cid: z.int().min(3), uds_path: z.string() }),
  entropy: z.strictObject({ rate_limiter: rateLimiter }),
  balloon: z.strictObject({ amount_mib: z.int().min(0), deflate_on_oom: z.boolean() }),
  logger: z.strictObject({ log_path: z.string(), level: z.enum(["Error", "Warning", "Info"]) }),
  metrics: z.strictObject({ metrics_path: z.string() }),
});
export type FirecrackerConfig = z.infer<typeof firecrackerConfig>;

/** What it answers; unknown members are let pass here, since later versions add some. */
const shortText = z.string().max(200);
export const firecrackerAnswers = {
  fault: z.object({ fault_message: z.string() }),
  version: z.object({ firecracker_version: z.string().regex(/^\d{1,4}\.\d{1,4}\.\d{1,4}(-[\w.-]{1,40})?$/) }),
  instance: z.object({
    id: shortText,
    state: z.enum(["Not started", "Running", "Paused"]),
    vmm_version: shortText,
    app_name: shortText,
  }),
} as const;

/**
 * One line of its metrics, as far as we look at it: counts since the line before, but for `seccomp`, which counts from the
 * start (src/vmm/src/logger/metrics.rs and the devices' metrics.rs of 1.12). What another version lacks counts as 0.
 */
const count = z.int().min(0).default(0);
export const firecrackerMetrics = z.object({
  utc_timestamp_ms: z.int().min(0),
  block: z
    .object({
      rate_limiter_throttled_events: count,
      execute_fails: count,
      invalid_reqs_count: count,
      event_fails: count,
    })
    .prefault({}),
  entropy: z.object({ entropy_rate_limiter_throttled: count, entropy_event_fails: count }).prefault({}),
  vsock: z
    .object({
      rx_queue_event_fails: count,
      tx_queue_event_fails: count,
      ev_queue_event_fails: count,
      muxer_event_fails: count,
    })
    .prefault({}),
  balloon: z.object({ event_fails: count }).prefault({}),
  seccomp: z.object({ num_faults: count }).prefault({}),
  logger: z.object({ missed_log_count: count }).prefault({}),
});

const path = z.string().regex(/^\/[\w./-]{1,100}$/);
/** Body of `PUT /snapshot/create`. */
export const firecrackerSnapshot = z.strictObject({
  snapshot_type: z.literal("Full"),
  snapshot_path: path,
  mem_file_path: path,
});
/** Body of `PUT /snapshot/load`. The last two members exist from 1.16 on. */
export const firecrackerLoad = z.strictObject({
  snapshot_path: path,
  mem_backend: z.strictObject({ backend_type: z.enum(["File", "Uffd"]), backend_path: path }),
  resume_vm: z.boolean(),
  clock_realtime: z.boolean().optional(),
  vsock_override: z.strictObject({ uds_path: path }).optional(),
});
export type FirecrackerLoad = z.infer<typeof firecrackerLoad>;
