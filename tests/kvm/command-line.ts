import type { ImageManifest } from "@exai/api/host";

/** What our kernel is told under Firecracker 1.12; docs/internals/nested-host.md says why, word for word. */
export const firecrackerCommandLine = (image: ImageManifest, vsockPort: number): string =>
  [
    "console=ttyS0 quiet loglevel=1 panic=-1 reboot=k",
    `exai.root=/dev/vda exai.rootfs=${image.rootfsFormat} exai.overlay=/dev/vdb exai.channel=vsock:${vsockPort}`,
    image.commandLine,
  ].join(" ");
