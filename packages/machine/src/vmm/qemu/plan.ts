import { jail } from "@exai/api/host";
import { type Accelerator, type BootFiles, bootBlobs, jailPaths, type LaunchPlan, type MachineSize } from "../plan.ts";
import { kernelCommandLine } from "./command-line.ts";

/** Name of the channel's port; the guest finds it in /sys/class/virtio-ports. */
export const channelPort = "exai.channel.0";

/**
 * QEMU's arguments for one microVM: a machine type without PCI, USB or firmware tables, six virtio devices, no network
 * card, nothing that the guest can use to reach outside.
 */
export function planQemu(image: BootFiles, size: MachineSize, accelerator: Accelerator): LaunchPlan {
  const argv = [
    ...machine(image),
    ...processor(size, accelerator),
    ...containment(),
    "-kernel",
    jailPaths.kernel,
    "-initrd",
    jailPaths.initramfs,
    "-append",
    kernelCommandLine(image, accelerator),
    ...console(),
    ...disks(),
    ...channel(),
    ...entropyAndMemory(),
    ...monitor(),
  ];
  return { vmm: "qemu", argv, files: bootBlobs(image), kvm: accelerator.kind === "kvm", ...size };
}

function machine(image: BootFiles): string[] {
  // Debian's kernel finds virtio-mmio only through ACPI.
  const flavor = image.kernelFlavor === "exai" ? "acpi=off,auto-kernel-cmdline=on" : "acpi=on,auto-kernel-cmdline=off";
  return [
    "-M",
    // pic, pit: without them the kernel has nothing to calibrate its local timer with; under emulation ticks then come a
    // tenth as often as they should, and whatever sleeps in the guest oversleeps. rtc: without one the kernel waits a
    // second for it. No option ROMs: nothing boots from a device here.
    // mem-merge: KSM between tenants is a side channel. dump-guest-core: a core file would hold the guest's memory.
    `microvm,${flavor},pic=on,pit=on,rtc=on,isa-serial=on,x-option-roms=off,pcie=off,usb=off,mem-merge=off,dump-guest-core=off`,
    "-nodefaults",
    "-no-user-config",
    "-no-reboot",
    "-display",
    "none",
    // Threads have names then, by which the node agent knows those of virtual CPUs.
    "-name",
    "exai,debug-threads=on",
    // virtio 1.0; the legacy interface has a guest-endian ring and fewer checks.
    "-global",
    "virtio-mmio.force-legacy=false",
  ];
}

function processor(size: MachineSize, accelerator: Accelerator): string[] {
  const smp = ["-smp", `cpus=${size.cpus}`, "-m", `${size.memoryMib}M`];
  // No nested virtualisation: nobody needs it, and its emulation has been the way out of VMs before.
  if (accelerator.kind === "kvm") return ["-accel", "kvm", "-cpu", "host,-vmx,-svm,pmu=off", ...smp];
  // la57: five page-table levels make every emulated TLB miss dearer and serve guests above 128 TiB.
  const tcg = `tcg,tb-size=${translationCacheMib(size.memoryMib)}`;
  // erms, fsrm: a kernel that sees them copies with `rep movsb`, which is emulated byte by byte; without them reading
  // files is twice as fast.
  return ["-accel", tcg, "-cpu", "max,-svm,-la57,-erms,-fsrm", ...smp];
}

/**
 * MiB of the emulator's cache of translated code. It fills up and stays, so that it is part of what an idle VM costs;
 * too small a one translates a large program (a JavaScript engine) again and again.
 */
export const translationCacheMib = (memoryMib: number): number =>
  Math.min(256, Math.max(16, Math.floor(memoryMib / 8)));

/** QEMU's own seccomp filter: no program can be started, no id changed, no priority raised. */
export const containment = (): string[] => [
  "-sandbox",
  "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
];

/** What the guest prints goes to standard output, which the launcher bounds and keeps. */
const console = (): string[] => ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"];

function disks(): string[] {
  // No locks: the base is shared by all VMs of the image and read-only, the overlay belongs to one VM.
  const common = "if=none,format=raw,file.locking=off,aio=threads";
  return [
    "-drive",
    `id=root,file=${jailPaths.rootfs},readonly=on,${common}`,
    "-device",
    "virtio-blk-device,drive=root,num-queues=1",
    "-drive",
    // writeback keeps the guest's fsync true (it becomes fdatasync); discarded blocks go back to the host.
    `id=overlay,file=${jail.disk},readonly=off,cache=writeback,discard=unmap,${common}`,
    "-device",
    // On a full disk QEMU's own choice is to pause the machine, for ever as nobody resumes it: the guest is told instead.
    "virtio-blk-device,drive=overlay,num-queues=1,werror=report,rerror=report",
  ];
}

/** The listening sockets come as descriptors, so that QEMU needs no path and may make none. */
const channel = (): string[] => [
  "-device",
  "virtio-serial-device,max_ports=2",
  "-chardev",
  `socket,id=channel,fd=${jail.channelFd},server=on,wait=off`,
  "-device",
  `virtserialport,chardev=channel,name=${channelPort}`,
];

const entropyAndMemory = (): string[] => [
  // QEMU's own generator (getrandom): needs no file in the jail. The bound is what a guest may cost.
  "-object",
  "rng-builtin,id=entropy",
  "-device",
  "virtio-rng-device,rng=entropy,max-bytes=65536,period=1000",
  // Memory that the guest frees goes back to the host; a guest in need takes back what the host reclaimed.
  "-device",
  "virtio-balloon-device,free-page-reporting=on,deflate-on-oom=on",
];

const monitor = (): string[] => [
  "-chardev",
  `socket,id=monitor,fd=${jail.monitorFd},server=on,wait=off`,
  "-mon",
  "chardev=monitor,mode=control",
];
