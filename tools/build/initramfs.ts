import { type CpioEntry, cpio } from "./cpio.ts";

/**
 * @param init the guest agent, a static binary
 * @param modules in the order to load them; Debian's kernel needs some before it sees a disk, ours has none
 */
export function initramfs(init: Uint8Array, modules: readonly { name: string; content: Uint8Array }[] = []): Buffer {
  const folders = ["dev", "proc", "sys", "newroot", ...(modules.length > 0 ? ["modules"] : [])];
  return cpio([
    ...folders.map((path): CpioEntry => ({ path, kind: "folder" })),
    // The kernel opens it as init's standard streams, before init can mount anything.
    { path: "dev/console", kind: "character", mode: 0o600, major: 5, minor: 1 },
    // Without a console (a VMM that has none, or 8250.nr_uarts=0) init starts without standard streams, and Rust's
    // runtime puts this in their place or aborts.
    { path: "dev/null", kind: "character", mode: 0o666, major: 1, minor: 3 },
    ...modules.map(
      ({ name, content }, at): CpioEntry => ({
        path: `modules/${String(at + 10)}-${name}.ko`,
        kind: "file",
        content,
        mode: 0o600,
      }),
    ),
    { path: "init", kind: "file", content: init, mode: 0o755 },
  ]);
}
