import { hostTscKhz, probeKvm } from "@exai/machine";

export interface ChosenAccelerator {
  readonly accelerator: "kvm" | "tcg";
  readonly reason: string;
  readonly tscKhz: number | undefined;
}

/**
 * KVM where it runs a guest to 64-bit user space, proven by booting one; else emulation. The answer is kept per boot
 * of the host in `memoryFile`, if there is one, since only a new kernel or firmware setting changes it.
 */
export async function chooseAccelerator(
  imageStore: string,
  releaseKeys: readonly string[],
  memoryFile: string | undefined,
): Promise<ChosenAccelerator> {
  const probe = await probeKvm({ imageStore, releaseKeys, memoryFile });
  if (probe.works)
    return { accelerator: "kvm", reason: "a guest booted to 64-bit user space under KVM", tscKhz: undefined };
  // Only an emulated guest has to be told it.
  const tscKhz = await hostTscKhz({ memoryFile: memoryFile && `${memoryFile}.tsc` });
  return { accelerator: "tcg", reason: `${probe.reason}; emulation is for development only`, tscKhz };
}
