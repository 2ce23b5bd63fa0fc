import type { Accelerator, BootFiles } from "../plan.ts";

/** What the kernel is told. The order is free; a word of the manifest comes last and wins. */
export function kernelCommandLine(image: BootFiles, accelerator: Accelerator, channel = "virtio-serial"): string {
  return [
    "console=ttyS0",
    // The emulated serial port costs an exit a byte; a panic is still printed.
    "quiet loglevel=1",
    // A panic ends the VM at once (-no-reboot), by triple fault: microvm has no other way without ACPI.
    "panic=-1 reboot=t",
    ...(image.kernelFlavor === "exai" ? ["acpi=off"] : []),
    ...clockWords(accelerator),
    `exai.root=/dev/vda exai.rootfs=${image.rootfsType} exai.overlay=/dev/vdb exai.channel=${channel}`,
    ...(image.commandLine === "" ? [] : [image.commandLine]),
  ].join(" ");
}

/**
 * Under emulation the guest's TSC is the host's, and there is nothing steady to calibrate it against: on a loaded host
 * the kernel measures nonsense, distrusts the TSC and hangs. So it is told. Under KVM kvm-clock says all of it.
 */
function clockWords(accelerator: Accelerator): string[] {
  if (accelerator.kind === "kvm") return [];
  return [`tsc_early_khz=${accelerator.tscKhz}`, "tsc=reliable", "no_timer_check"];
}
