import type { BootFiles } from "./plan.ts";

export const image: BootFiles = {
  kernel: "1".repeat(64),
  kernelFlavor: "exai",
  initramfs: "2".repeat(64),
  rootfs: "3".repeat(64),
  rootfsType: "erofs",
  commandLine: "",
};
