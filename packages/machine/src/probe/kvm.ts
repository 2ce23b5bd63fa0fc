import { access, constants, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type ImageManifest, imageIndex, imageStorePaths } from "@exai/api/host";
import { startProgram } from "../exec.ts";
import { copyBlob } from "../image/blobs.ts";
import { loadManifest } from "../image/load.ts";
import { containment } from "../vmm/qemu/plan.ts";
import { rememberPerBoot } from "./memory.ts";

export interface KvmProbeOptions {
  /** Folder of the image store: the kernel and initramfs of an image there are booted. */
  imageStore: string;
  /** Only of an image that one of these signed: QEMU runs with the caller's rights, and that is root. */
  releaseKeys: readonly string[];
  /** Where the answer is kept, for this boot of the host, if anywhere. */
  memoryFile: string | undefined;
  timeoutMs?: number;
  qemu?: string;
}

export interface KvmAnswer {
  readonly works: boolean;
  /** One sentence: what was seen. */
  readonly reason: string;
}

interface Tried extends KvmAnswer {
  /** False when nothing was booted, so that the next call tries again. */
  readonly tried: boolean;
}

const device = "/dev/kvm";
const okLine = "exai-guest: probe ok";

/**
 * Whether this host's KVM runs a guest to 64-bit user space: it boots one. That /dev/kvm opens, or that a few
 * real-mode instructions run, says little: there are hosts whose KVM then interprets a kernel instruction by
 * instruction and dies of the first that it does not know.
 */
export async function probeKvm(options: KvmProbeOptions): Promise<KvmAnswer> {
  const { works, reason } = await rememberPerBoot(
    options.memoryFile,
    parseTried,
    () => probe(options),
    (answer) => answer.tried,
  );
  return { works, reason };
}

async function probe(options: KvmProbeOptions): Promise<Tried> {
  try {
    await access(device, constants.R_OK | constants.W_OK);
  } catch {
    return { works: false, tried: false, reason: `${device} does not exist or may not be opened` };
  }
  const folder = await mkdtemp(join(tmpdir(), "exai-boot-probe-"));
  try {
    const boot = await findBoot(options, folder);
    if (boot !== undefined) {
      return await tryBoot(boot, options.qemu ?? "/usr/bin/qemu-system-x86_64", options.timeoutMs ?? 5000);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  const reason = `there is no image in ${options.imageStore} that an enrolled release key signed, to try KVM with`;
  return { works: false, tried: false, reason };
}

export interface ProbeBoot {
  readonly kernel: string;
  readonly initramfs: string;
  readonly acpi: boolean;
}

/** A kernel of ours if there is one: it is up in a fraction of the time that the distribution's takes. */
async function findBoot({ imageStore, releaseKeys }: KvmProbeOptions, folder: string): Promise<ProbeBoot | undefined> {
  const found: ImageManifest[] = [];
  for (const digest of await readIndex(imageStore)) {
    // A broken or foreign image is reported where it is used; here the next one will do.
    const manifest = await loadManifest(imageStore, digest, releaseKeys).catch(() => undefined);
    if (manifest !== undefined) found.push(manifest);
  }
  const isStock = (manifest: ImageManifest) => manifest.kernelFlavor === "stock";
  const ordered = [...found.filter((each) => !isStock(each)), ...found.filter(isStock)];
  for (const [at, manifest] of ordered.entries()) {
    const boot = { kernel: join(folder, `kernel-${at}`), initramfs: join(folder, `initramfs-${at}`) };
    try {
      await copyBlob(imageStore, manifest.kernel, "kernel", boot.kernel);
      await copyBlob(imageStore, manifest.initramfs, "initramfs", boot.initramfs);
      return { ...boot, acpi: isStock(manifest) };
    } catch {
      // As above.
    }
  }
  return undefined;
}

async function readIndex(store: string): Promise<string[]> {
  try {
    const index = imageIndex.parse(JSON.parse(await readFile(join(store, imageStorePaths.index), "utf8")));
    return [...new Set(Object.values(index))];
  } catch {
    return [];
  }
}

async function tryBoot(boot: ProbeBoot, qemu: string, timeoutMs: number): Promise<Tried> {
  await using running = await startProgram(qemu, kvmProbeArguments(boot), Math.ceil(timeoutMs / 1000) + 1);
  const lines = createInterface({ input: running.stdout });
  let last = "";
  const ok = new Promise<boolean>((resolve) => {
    lines.on("line", (line) => {
      last = line.slice(0, 200);
      if (line.includes(okLine)) resolve(true);
    });
    lines.on("close", () => resolve(false));
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), timeoutMs);
  });
  const answer = await Promise.race([ok, late]);
  clearTimeout(timer);
  lines.close();
  if (answer === true) return { works: true, tried: true, reason: "a guest booted to 64-bit user space under KVM" };
  const how = answer === "late" ? `did not reach user space within ${timeoutMs} ms` : "died before user space";
  const seen = last === "" ? "" : `; its last line was '${printable(last)}'`;
  return { works: false, tried: true, reason: `a guest under KVM ${how}${seen}` };
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: removing them is the point
const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f']+/g, " ").trim();

/** What QEMU is told to boot such a guest: it prints `exai-guest: probe ok` when it is in user space. */
export function kvmProbeArguments(boot: ProbeBoot): string[] {
  const machine = boot.acpi ? "acpi=on" : "acpi=off";
  const words = `console=ttyS0 quiet loglevel=1 panic=-1 reboot=t exai.probe=1${boot.acpi ? "" : " acpi=off"}`;
  return [
    ["-M", `microvm,${machine},pic=on,pit=on,rtc=on,isa-serial=on,x-option-roms=off`],
    ["-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", "128M"],
    ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
    ["-kernel", boot.kernel, "-initrd", boot.initramfs, "-append", words],
    ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    containment(),
  ].flat();
}

function parseTried(value: unknown): Tried | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (!("works" in value) || typeof value.works !== "boolean") return undefined;
  if (!("reason" in value) || typeof value.reason !== "string") return undefined;
  return { works: value.works, reason: value.reason, tried: true };
}
