import { z } from "zod";

/**
 * What `exai doctor --json` prints. Programs of others read it: members and ids are only ever added within v1, an id
 * never changes its meaning. `spec/doctor.schema.json` is this as JSON Schema.
 */

/** Every check there is, in the order in which a person would set a machine up. Only these words reach an audit log. */
export const doctorCheckIds = [
  "platform",
  "architecture",
  "root",
  "qemu",
  "flock",
  "images",
  "launcher",
  "memory",
  "disk",
  "home",
  "mke2fs",
  "namespaces",
  "own-paths",
  "uid-range",
  "open-files",
  "cgroup2",
  "cgroup-cpuset",
  "cpu-floor",
  "host-kernel",
  "host-kernel-tested",
  "guest-kernel",
  "device-mapper",
  "cpu-vendor",
  "cpu-flags",
  "bare-metal",
  "microcode",
  "mitigations",
  "smt",
  "ksm",
  "swap",
  "core-dumps",
  "memory-ecc",
  "kvm-device",
  "kvm-guest",
  "kvm-nx-huge-pages",
  "kvm-nested",
  "kvm-timer",
  "firecracker",
  "jailer",
  "vmm-probe",
  "vmm-seccomp",
  "vmm-uid",
  "vmm-rights",
  "vmm-limits",
  "vmm-cgroup",
  "metadata-address",
  "serial-console",
  "vmm-logs",
  "kernel-console",
  "kernel-log-rate",
  "clocksource",
  "time-sync",
  "entropy",
  "hwrng",
  "bpf-unprivileged",
  "bpf-jit",
  "bpf-jit-harden",
  "bpf-btf",
  "bpf-tcx",
] as const;

export const doctorCheckId = z.enum(doctorCheckIds);
export type DoctorCheckId = z.infer<typeof doctorCheckId>;

/** For what the host is looked at: production is stricter, and has checks that development does not. */
export const doctorMode = z.enum(["development", "production"]);
export type DoctorMode = z.infer<typeof doctorMode>;

/** How much it matters when it is not ok: with `fail` the stack won't start in this mode. */
export const doctorSeverity = z.enum(["fail", "warn"]);
export type DoctorSeverity = z.infer<typeof doctorSeverity>;

/**
 * `warn`, `fail`: not as it should be, and how much that matters. `unknown`: what the host says was not understood, or
 * it does not say. `not-applicable`: there is nothing here that it could be true or false of.
 */
export const doctorStatus = z.enum(["ok", "warn", "fail", "unknown", "not-applicable"]);
export type DoctorStatus = z.infer<typeof doctorStatus>;

const line = z.string().min(1).max(4000);

export const doctorResult = z.strictObject({
  id: doctorCheckId,
  status: doctorStatus,
  severity: doctorSeverity,
  /** What was found, one sentence. */
  found: line,
  /** Why it matters. */
  reason: line,
  /** What to do when it is not ok. */
  remedy: line,
  /** A shell command that shows the same and changes nothing. */
  command: line,
});
export type DoctorResult = z.infer<typeof doctorResult>;

export const doctorReport = z.strictObject({
  schema: z.literal("exai.doctor/v1"),
  /** Of the program. */
  version: z.string(),
  at: z.iso.datetime(),
  mode: doctorMode,
  /** Whether the stack would start in this mode: no check of severity `fail` has the status `fail` or `unknown`. */
  ok: z.boolean(),
  /** Whether the stack that runs on this home took the result into its tenants' audit logs. */
  recorded: z.boolean(),
  checks: z.array(doctorResult).max(doctorCheckIds.length),
});
export type DoctorReport = z.infer<typeof doctorReport>;

/** What of it goes into an audit log: words of closed lists, no text of anybody's. */
export const doctorSummary = z.strictObject({
  at: z.iso.datetime(),
  mode: doctorMode,
  ok: z.boolean(),
  checks: z.array(z.strictObject({ id: doctorCheckId, status: doctorStatus })).max(doctorCheckIds.length),
});
export type DoctorSummary = z.infer<typeof doctorSummary>;
