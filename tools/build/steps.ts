import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ImageManifest } from "@exai/api/host";
import { bundleCli } from "../bundle/bundle.ts";
import { fetchFirecracker } from "../nested-host/firecracker.ts";
import { buildHostRootfs, joinHost, packHostInitramfs, unpackHostKernel } from "../nested-host/steps.ts";
import type { Cached } from "./cached.ts";
import { cached } from "./cached.ts";
import type { FetchOptions } from "./debs.ts";
import type { Step } from "./graph.ts";
import { buildHostileGuest } from "./hostile-guest.ts";
import { initramfs } from "./initramfs.ts";
import { buildKernel } from "./kernel.ts";
import { fetchMaterial } from "./material.ts";
import { readLock } from "./recipe.ts";
import { buildRootfs, type RootfsSpec, rootfsFormat } from "./rootfs.ts";
import { buildBinary } from "./rust.ts";
import { stockModules, unpackStockKernel } from "./stock.ts";
import { putBlob, putImage } from "./store.ts";
import { addBaseUser } from "./tree.ts";

export interface StepOptions extends FetchOptions {
  onKernelPercent: (percent: number) => void;
}

/** Words for our kernel beyond what the driver says; README.md of native/kernel explains them. */
const ourCommandLine = "page_alloc.shuffle=1 sysctl.kernel.yama.ptrace_scope=1";

export const baseRootfs: RootfsSpec = {
  kind: "rootfs",
  recipe: "base",
  packing: ["-zlz4"],
  change: addBaseUser,
  version: "v1",
};

/**
 * Everything that is built. The images of both kernels share guest agent and root file system; the stock one is ready
 * minutes earlier, so our kernel comes last and yields the processor.
 */
export function buildSteps(options: StepOptions): Step[] {
  const folders = new Map<string, string>();
  const step = (name: string, needs: readonly string[], run: () => Promise<Cached & { note?: string }>): Step => ({
    name,
    needs,
    run: async () => {
      const { folder, ...rest } = await run();
      folders.set(name, folder);
      return rest;
    },
  });
  const forTests = (each: Step): Step => ({ ...each, testsOnly: true });
  const folder = (name: string): string => folders.get(name) ?? "";
  const file = (name: string, path: string): string => join(folder(name), path);
  const image = async (manifest: Omit<ImageManifest, "schema" | "architecture" | "rootfs" | "rootfsFormat">) => {
    const rootfs = await putBlob(file("rootfs", `rootfs.${rootfsFormat}`));
    const whole = { schema: "exai.image/v1", architecture: "x86_64", rootfs, rootfsFormat, ...manifest } as const;
    return { folder: "", hit: false, note: await putImage(whole) };
  };
  return [
    step("rootfs", [], () => buildRootfs(baseRootfs, options)),
    step("guest", [], () => buildBinary("guest", "exai-guest")),
    step("stock-kernel", [], () => unpackStockKernel(readLock().kernel, options)),
    step("initramfs", ["guest"], () => packInitramfs(file("guest", "exai-guest"))),
    step("stock-initramfs", ["guest", "stock-kernel"], () =>
      packInitramfs(file("guest", "exai-guest"), stockModules(file("stock-kernel", "."))),
    ),
    step("image-stock", ["rootfs", "stock-kernel", "stock-initramfs"], async () =>
      image({
        name: "base-stock",
        kernel: await putBlob(file("stock-kernel", "vmlinux")),
        kernelFlavor: "stock",
        initramfs: await putBlob(file("stock-initramfs", "initramfs")),
        commandLine: "",
      }),
    ),
    step("material", [], fetchMaterial),
    step("cli", [], bundleCli),
    step("launcher", [], () => buildBinary("launcher", "exai-launcher")),
    step("kernel", [], () => buildKernel(options.onKernelPercent)),
    forTests(step("firecracker", [], fetchFirecracker)),
    forTests(step("hostile-guest", [], buildHostileGuest)),
    forTests(step("host-rootfs", [], () => buildHostRootfs(options))),
    forTests(step("host-kernel", [], () => unpackHostKernel(options))),
    forTests(
      step("host-initramfs", ["guest", "host-kernel"], () =>
        packHostInitramfs(file("guest", "exai-guest"), folder("host-kernel")),
      ),
    ),
    forTests(
      step("nested-host", ["host-rootfs", "host-kernel", "host-initramfs"], () =>
        joinHost({
          kernel: folder("host-kernel"),
          initramfs: folder("host-initramfs"),
          rootfs: folder("host-rootfs"),
        }),
      ),
    ),
    step("image", ["rootfs", "kernel", "initramfs"], async () =>
      image({
        name: "base",
        kernel: await putBlob(file("kernel", "vmlinux")),
        kernelFlavor: "exai",
        initramfs: await putBlob(file("initramfs", "initramfs")),
        commandLine: ourCommandLine,
      }),
    ),
  ];
}

function packInitramfs(guest: string, modules: { name: string; content: Buffer }[] = []): Promise<Cached> {
  const init = readFileSync(guest);
  const inputs = [init, ...modules.flatMap(({ name, content }) => [name, content]), "v2"];
  return cached(modules.length > 0 ? "stock-initramfs" : "initramfs", inputs, async (folder) => {
    writeFileSync(join(folder, "initramfs"), initramfs(init, modules));
  });
}
