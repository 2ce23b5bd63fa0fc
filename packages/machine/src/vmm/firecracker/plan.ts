import { type FirecrackerConfig, firecrackerConfig, jail } from "@exai/api/host";
import { type BootFiles, bootBlobs, jailPaths, type LaunchPlan, type MachineSize } from "../plan.ts";

/**
 * Firecracker's configuration for one microVM: two disks, a vsock that only the guest dials, entropy, a balloon, a serial
 * console; no network card. It reads it from a file, so that a boot needs no call of its API.
 */
export function planFirecracker(image: BootFiles, size: MachineSize): LaunchPlan {
  const argv = ["--config-file", jail.config, "--api-sock", jail.api];
  return {
    vmm: "firecracker",
    argv,
    files: bootBlobs(image),
    config: JSON.stringify(firecrackerConfig.parse(configOf(image, size))),
    kvm: true,
    ...size,
  };
}

function configOf(image: BootFiles, { cpus, memoryMib }: MachineSize): FirecrackerConfig {
  return {
    "boot-source": {
      kernel_image_path: jailPaths.kernel,
      initrd_path: jailPaths.initramfs,
      boot_args: firecrackerCommandLine(image),
    },
    // Sibling threads of one core are not shown to the guest as such.
    "machine-config": { vcpu_count: cpus, mem_size_mib: memoryMib, smt: false },
    drives: [
      { drive_id: "root", path_on_host: jailPaths.rootfs, is_read_only: true, cache_type: "Unsafe", ...disk },
      // Writeback keeps the guest's fsync true.
      { drive_id: "overlay", path_on_host: jail.disk, is_read_only: false, cache_type: "Writeback", ...disk },
    ],
    vsock: { guest_cid: 3, uds_path: jail.vsock },
    entropy: { rate_limiter: { bandwidth: { size: 65_536, refill_time: 1000 } } },
    // A guest in need takes back what the host reclaimed.
    balloon: { amount_mib: 0, deflate_on_oom: true },
    logger: { log_path: jail.log, level: "Warning" },
    metrics: { metrics_path: jail.metrics },
  };
}

/** What one disk may cost the host's, a second; far above what a workspace needs, far below what hurts its neighbours. */
const disk = {
  // With a root device Firecracker adds words to the kernel's command line; the agent finds both disks by itself.
  is_root_device: false,
  io_engine: "Sync",
  rate_limiter: {
    bandwidth: { size: 512 << 20, refill_time: 1000, one_time_burst: 1 << 30 },
    ops: { size: 20_000, refill_time: 1000, one_time_burst: 40_000 },
  },
} as const;

/** What the kernel is told. The order is free; a word of the manifest comes last and wins. */
function firecrackerCommandLine(image: BootFiles): string {
  return [
    "console=ttyS0 quiet loglevel=1",
    // Firecracker ends when its i8042 is told to reset the machine.
    "panic=-1 reboot=k",
    `exai.root=/dev/vda exai.rootfs=${image.rootfsType} exai.overlay=/dev/vdb exai.channel=vsock:${jail.channelPort}`,
    ...(image.commandLine === "" ? [] : [image.commandLine]),
  ].join(" ");
}
