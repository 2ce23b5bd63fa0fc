import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hostTscKhz, jailPaths, loadImage, planQemu, resolveImageName } from "@exai/machine";
import type { TestStack } from "../../tests/support/stack.ts";

const initLine = "exai-guest: init";
const longestMs = 60_000;

/** Devices and files that a VM of ours has beyond the kernel, its initramfs, the base image and a console. */
const ours =
  /exai\.channel|^id=overlay|drive=overlay|id=(channel|monitor|entropy)|rng|balloon|virtio-serial|virtserialport/;
const oursAlone = new Set(["-sandbox", "-mon"]);

/**
 * The reference: QEMU as our driver would start it, for the same kernel, initramfs, image and size, but bare – no jail, no
 * filter, no channel, no disk of its own – from its start to the first line of the guest's init.
 */
export class BareQemu {
  readonly #argv: readonly string[];

  private constructor(argv: readonly string[]) {
    this.#argv = argv;
  }

  static async prepare(stack: TestStack, store: string, image: string, memoryMib: number): Promise<BareQemu> {
    const releases = join(stack.home, "anchors/releases");
    const keys = readdirSync(releases).map((file) => readFileSync(join(releases, file), "utf8").trim());
    const loaded = await loadImage(store, await resolveImageName(store, image), keys);
    const tscKhz = await hostTscKhz({ memoryFile: join(stack.home, "host-checks.json.tsc") });
    const { argv } = planQemu(loaded, { cpus: 1, memoryMib }, { kind: "tcg", tscKhz });
    return new BareQemu(bare(argv).map((word) => onHost(word, loaded.paths)));
  }

  /** Milliseconds from the process's start to init's first line. */
  async run(): Promise<number> {
    const startedMs = performance.now();
    const child = spawn("/usr/bin/qemu-system-x86_64", this.#argv, { stdio: ["ignore", "pipe", "pipe"] });
    const closed = new Promise<void>((done) => child.once("close", () => done()));
    const timer = setTimeout(() => child.kill("SIGKILL"), longestMs);
    let seen = "";
    try {
      for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
        seen += chunk.toString("latin1");
        if (seen.includes(initLine)) return performance.now() - startedMs;
      }
      throw new Error(`bare QEMU ended before init: ${seen.slice(-300)}`);
    } finally {
      clearTimeout(timer);
      child.kill("SIGKILL");
      await closed;
    }
  }
}

/** Options come in pairs, but for those without a value. */
function bare(argv: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < argv.length; ) {
    const option = argv[at] ?? "";
    const value = argv[at + 1];
    const words = value === undefined || value.startsWith("-") ? [option] : [option, value];
    at += words.length;
    const extra =
      oursAlone.has(option) ||
      (["-device", "-drive", "-chardev", "-object"].includes(option) && ours.test(value ?? ""));
    if (!extra) kept.push(...words);
  }
  return kept;
}

function onHost(word: string, paths: { kernel: string; initramfs: string; rootfs: string }): string {
  return word
    .replace(jailPaths.kernel, paths.kernel)
    .replace(jailPaths.initramfs, paths.initramfs)
    .replace(jailPaths.rootfs, paths.rootfs);
}
