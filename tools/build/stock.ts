import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { extractKernel } from "./bzimage.ts";
import { type Cached, cached } from "./cached.ts";
import { type FetchOptions, fetchDebs } from "./debs.ts";
import { BuildError } from "./errors.ts";
import { orderModules } from "./modules.ts";
import type { LockedDeb } from "./package-lock.ts";
import { run } from "./run.ts";

/** What Debian's cloud kernel needs before it sees our devices and file systems; ext4 is built in. */
const guestModules = [
  "virtio_mmio",
  "virtio_blk",
  "virtio_console",
  "virtio_rng",
  "virtio_balloon",
  "virtio_net",
  "vmw_vsock_virtio_transport",
  "erofs",
  "squashfs",
  "overlay",
];

export const unpackStockKernel = (locked: LockedDeb, options: FetchOptions): Promise<Cached> =>
  unpackKernel("stock", locked, guestModules, options);

/** A kernel of Debian's, not installed, only unpacked: `vmlinux` and `modules/NN-name.ko` in the order to load them. */
export async function unpackKernel(
  kind: string,
  locked: LockedDeb,
  wanted: readonly string[],
  options: FetchOptions,
): Promise<Cached> {
  const [deb] = await fetchDebs([locked], options);
  if (deb === undefined) throw new BuildError("missing", `the kernel ${locked.name} was not fetched`);
  return cached(kind, [deb.sha256, wanted.join(), "v1"], async (folder) => {
    const tree = join(folder, "tree");
    await run(["dpkg-deb", "-x", deb.path, tree]);
    const boot = readdirSync(join(tree, "boot")).find((file) => file.startsWith("vmlinuz-"));
    if (boot === undefined) throw new BuildError("input", `${deb.name} holds no kernel`);
    writeFileSync(join(folder, "vmlinux"), await extractKernel(readFileSync(join(tree, "boot", boot))));
    const version = boot.slice("vmlinuz-".length);
    mkdirSync(join(folder, "modules"));
    orderModules(join(tree, "lib/modules", version), wanted).forEach(({ name, content }, at) => {
      writeFileSync(join(folder, "modules", `${String(at + 10)}-${name}.ko`), content);
    });
    rmSync(tree, { recursive: true });
  });
}

export const stockModules = (folder: string): { name: string; content: Buffer }[] =>
  readdirSync(join(folder, "modules"))
    .sort()
    .map((file) => ({ name: file.slice(3, -3), content: readFileSync(join(folder, "modules", file)) }));
