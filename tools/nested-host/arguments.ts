import { join } from "node:path";
import { hostFiles } from "./steps.ts";

/** Two nested hosts of one shape can share a saved state. */
export interface HostShape {
  cpus: number;
  memoryMib: number;
}

export const usualShape: HostShape = { cpus: 1, memoryMib: 4096 };

/** A folder of the machine that the nested host sees read-only, under the same path. */
export interface Share {
  /** The 9p tag: a name for both sides. */
  tag: string;
  path: string;
}

export interface Boot {
  shape: HostShape;
  /** Folder with what it boots from. */
  files: string;
  /** Folder for the sockets and the console's log. */
  run: string;
  shares: readonly Share[];
  /** The machine's own figure: under emulation a guest reads the machine's counter. */
  tscKhz: number;
  /** Take a saved state from this descriptor instead of booting. */
  stateFd?: number;
}

export const runFiles = {
  channel: "channel.sock",
  monitor: "monitor.sock",
  console: "console.log",
  scratch: "scratch.ext4",
} as const;

/**
 * QEMU's arguments. No network card and no listener but UNIX sockets in a folder of our own: whatever runs in the
 * nested host can reach the machine only by answering on its channel.
 */
export function hostArguments(boot: Boot): string[] {
  const { shape, run, shares } = boot;
  const file = (name: keyof typeof hostFiles): string => join(boot.files, hostFiles[name]);
  return [
    ["-M", "q35,usb=off,vmport=off", "-accel", "tcg", "-nodefaults", "-no-user-config"],
    ["-no-reboot", "-display", "none"],
    // EPYC has AMD-V with nested paging, and XSAVE, without which Firecracker refuses; emulating `max` costs more.
    ["-cpu", "EPYC", "-smp", String(shape.cpus), "-m", `${shape.memoryMib}M`],
    ["-kernel", file("kernel"), "-initrd", file("initramfs"), "-append", commandLine(boot)],
    ["-drive", `id=root,if=none,format=raw,readonly=on,file.locking=off,file=${doubled(file("rootfs"))}`],
    ["-device", "virtio-blk-pci,drive=root"],
    // What is lost with the machine need not be safe from a power cut.
    ["-drive", `id=scratch,if=none,format=raw,cache=unsafe,discard=unmap,file=${doubled(join(run, runFiles.scratch))}`],
    ["-device", "virtio-blk-pci,drive=scratch"],
    ["-device", "virtio-serial-pci,max_ports=2", "-device", "virtserialport,chardev=channel,name=exai.channel.0"],
    ["-chardev", `socket,id=channel,path=${doubled(join(run, runFiles.channel))},server=on,wait=off`],
    ["-object", "rng-builtin,id=entropy", "-device", "virtio-rng-pci,rng=entropy"],
    ["-chardev", `file,id=console,path=${doubled(join(run, runFiles.console))}`, "-serial", "chardev:console"],
    ["-chardev", `socket,id=monitor,path=${doubled(join(run, runFiles.monitor))},server=on,wait=off`],
    ["-mon", "chardev=monitor,mode=control"],
    shares.flatMap(({ tag, path }) => [
      "-virtfs",
      `local,path=${doubled(path)},mount_tag=${tag},security_model=none,readonly=on`,
    ]),
    ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    boot.stateFd === undefined ? [] : ["-incoming", `fd:${boot.stateFd}`],
  ].flat();
}

/** A comma ends an option's value unless it is doubled. */
const doubled = (value: string): string => value.replaceAll(",", ",,");

const commandLine = ({ tscKhz }: Boot): string =>
  [
    "console=ttyS0 quiet loglevel=4 panic=-1",
    // Nothing in there needs to be kept apart, and each mitigation is emulated.
    "mitigations=off",
    // Measured under load, the counter's rate comes out wrong by a factor, and time in the nested host with it.
    `tsc_early_khz=${tscKhz} tsc=reliable no_timer_check`,
    // No exai.overlay: what is written there is memory.
    "exai.root=/dev/vda exai.rootfs=erofs exai.channel=virtio-serial",
  ].join(" ");
