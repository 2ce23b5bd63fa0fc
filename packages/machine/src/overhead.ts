/**
 * MiB that a VMM needs beyond its guest's memory, for admission. Measured as PSS of QEMU 7.2 with the devices of
 * `planQemu` and ten VMs at once: 33 MiB when emulating with the smallest translation cache. The rest is room for a
 * cache that has filled (`translationCacheMib`, in the pages of which nothing is ever given back) and for I/O buffers.
 */
export const memoryOverheadMib = 64;
