/** One line of a report, before it was measured. `at` says on which side of `target` the value must lie. */
export interface Target {
  readonly unit: string;
  readonly target: number;
  readonly at: "most" | "least";
  readonly what: string;
}

/** What `npm run bench:machine` measures, and what is promised. docs/benchmarks.md says how each is taken. */
const machineTargets = {
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

/** What `npm run bench:kvm` measures. */
const kvmTargets = {
  "kvm-cold-ratio": {
    unit: "×",
    target: 1.7,
    at: "most",
    what: "create to first exec under Firecracker, against bare calls of its API up to the agent's hello, in a nested host",
  },
  "kvm-load-ratio": {
    unit: "×",
    target: 2.5,
    at: "most",
    what: "load of a snapshot to first exec, against bare snapshot/load up to the agent's hello, in a nested host",
  },
  "kvm-per-vm-mib": {
    unit: "MiB",
    target: 16,
    at: "most",
    what: "host memory for each VM beyond its guest's: VMM, keeper, kernel, growth of our processes",
  },
  "host-cpu-ms-1": {
    unit: "ms",
    target: 60,
    at: "most",
    what: "CPU time of the host's processes for a create and destroy alone, with a VMM that does nothing",
  },
  "host-cpu-ms-50": { unit: "ms", target: 40, at: "most", what: "the same for each of 50 in a row" },
} as const satisfies Record<string, Target>;

export const targets = { ...machineTargets, ...kvmTargets };
export type BenchId = keyof typeof targets;
export const machineIds = Object.keys(machineTargets) as (keyof typeof machineTargets)[];
export const kvmIds = Object.keys(kvmTargets) as (keyof typeof kvmTargets)[];
