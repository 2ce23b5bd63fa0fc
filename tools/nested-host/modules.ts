/**
 * Kernel modules of the nested host, loaded at its boot in this order, with what each depends on. A suite that needs
 * another adds it here.
 */
export const hostModules = [
  // Others want it without naming it among what they depend on.
  "crc32c_generic",
  // Its own devices and file systems.
  "virtio_pci",
  "virtio_blk",
  "virtio_console",
  "virtio_rng",
  "erofs",
  "overlay",
  "9pnet_virtio",
  "9p",
  "ext4",
  "loop",
  // What a host of microVMs has. The emulated processor is an AMD one.
  "kvm_amd",
  "tun",
  "veth",
  "nf_tables",
  "nft_ct",
  "nft_limit",
  "nft_log",
  "nft_reject_inet",
  "dm_crypt",
  "xts",
  "aesni_intel",
];
