import { jail, type LaunchRequest } from "@exai/api/host";

/** Digests of what a guest boots from, already checked against the image's manifest. */
export interface BootFiles {
  /** An uncompressed ELF kernel. */
  readonly kernel: string;
  /** `exai` finds its devices on the command line; `stock` (Debian's) only through ACPI. */
  readonly kernelFlavor: "exai" | "stock";
  readonly initramfs: string;
  readonly rootfs: string;
  readonly rootfsType: "erofs" | "squashfs";
  /** Further words for the kernel's command line, from the manifest. */
  readonly commandLine: string;
}

export interface MachineSize {
  readonly cpus: number;
  readonly memoryMib: number;
}

/** `tcg` is emulation: for development only, since QEMU does not hold it to be a security boundary. */
export type Accelerator = { readonly kind: "kvm" } | { readonly kind: "tcg"; readonly tscKhz: number };

/** How to start a VMM, without who for: what a driver's pure planning function returns. */
export type LaunchPlan = Pick<LaunchRequest, "vmm" | "argv" | "files" | "config" | "kvm" | "cpus" | "memoryMib">;

/** Where the VMM sees its files, inside its jail. */
export const jailPaths = { kernel: "/vm/kernel", initramfs: "/vm/initramfs", rootfs: "/vm/rootfs" } as const;

/** The files of a snapshot, as a VMM sees them. QEMU has a state alone, which holds the memory. */
export const snapshotPaths = { state: `${jail.snapshot}/state`, memory: `${jail.snapshot}/memory` } as const;

/** The arguments of a plan's VMM when it begins from a snapshot: its devices come with the state. */
export function loadArgv({ vmm, argv }: LaunchPlan): string[] {
  if (vmm === "qemu") return [...argv, "-incoming", `fd:${jail.loadFd}`, "-S"];
  return ["--api-sock", jail.api, "--log-path", jail.log, "--level", "Warning", "--metrics-path", jail.metrics];
}

/** What every VMM boots from, bound into its jail. */
export const bootBlobs = (image: BootFiles): LaunchPlan["files"] => [
  { blob: image.kernel, target: jailPaths.kernel },
  { blob: image.initramfs, target: jailPaths.initramfs },
  { blob: image.rootfs, target: jailPaths.rootfs },
];
