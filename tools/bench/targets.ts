/** One line of a report, before it was measured. `at` says on which side of `target` the value must lie. */
export interface Target {
  readonly unit: string;
  readonly target: number;
  readonly at: "most" | "least";
  readonly what: string;
}

/** What `npm run bench:machine` measures, and what is promised. docs/benchmarks.md says how each is taken. */
export const targets = {
  "run-cold-ratio": {
    unit: "×",
    target: 1.6,
    at: "most",
    what: "exai run -- true, process start to exit, against bare QEMU up to init's first line",
  },
  "run-cold-s": { unit: "s", target: 2.0, at: "most", what: "exai run -- true, process start to exit" },
  "exec-overhead-ms": {
    unit: "ms",
    target: 10,
    at: "most",
    what: "exec of true by a warm client, less fork and exec inside the guest, p50",
  },
  "cp-up-ratio": { unit: "×", target: 0.6, at: "least", what: "64 MiB file up, against one gRPC byte stream" },
  "cp-down-ratio": { unit: "×", target: 0.6, at: "least", what: "64 MiB file down, against one gRPC byte stream" },
  "first-vm-mib": {
    unit: "MiB",
    target: 200,
    at: "most",
    what: "channel, launcher and VMM with one VM, PSS beyond guest memory",
  },
  "per-vm-mib": {
    unit: "MiB",
    target: 48,
    at: "most",
    what: "growth of the whole stack for each of many VMs of 128 MiB, PSS beyond guest memory",
  },
  "idle-stack-mib": { unit: "MiB", target: 400, at: "most", what: "the whole stack without a VM, PSS" },
  "vms-at-once": {
    unit: "",
    target: 40,
    at: "least",
    what: "idle microVMs of 128 MiB that all answer an exec, then destroyed with nothing left",
  },
} as const satisfies Record<string, Target>;

export type BenchId = keyof typeof targets;
export const benchIds = Object.keys(targets) as BenchId[];
