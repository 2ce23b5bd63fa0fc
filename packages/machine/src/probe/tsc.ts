import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { MachineError } from "../errors.ts";
import { type Running, startProgram } from "../exec.ts";
import { containment } from "../vmm/qemu/plan.ts";
import { rememberPerBoot } from "./memory.ts";
import { tscBios } from "./tsc-bios.ts";

export interface TscOptions {
  /** Where the answer is kept, for this boot of the host, if anywhere. */
  memoryFile: string | undefined;
  qemu?: string;
}

/** A wrong value makes an emulated guest's time run wrong by as much; NTP corrects up to half of this. */
const wantedError = 1e-4;
const longestMs = 4000;
const qemuPath = "/usr/bin/qemu-system-x86_64";

/**
 * The rate of this host's time stamp counter in kHz, as a guest under emulation sees it, within 0.01 %: two readings
 * taken by a tiny firmware in QEMU, each between two readings of the host's clock. /proc/cpuinfo shows the momentary
 * speed instead, and the kernel's own figure is only in its log, which forgets.
 * @throws MachineError `exec` when QEMU can't be started, `unsupported` when the counter gives no steady rate
 */
export function hostTscKhz(options: TscOptions): Promise<number> {
  const parse = (value: unknown) => (typeof value === "number" && plausible(value) ? value : undefined);
  return rememberPerBoot(options.memoryFile, parse, () => measure(options.qemu ?? qemuPath));
}

const plausible = (khz: number): boolean => Number.isInteger(khz) && khz >= 100_000 && khz <= 10_000_000;

async function measure(qemu: string): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "exai-tsc-"));
  try {
    const bios = join(folder, "bios");
    await writeFile(bios, tscBios());
    const argv = ["-M", "microvm,acpi=off,isa-serial=on", "-accel", "tcg,tb-size=1", "-m", "8M", "-bios", bios];
    const plain = [
      ...containment(),
      "-nodefaults",
      "-no-user-config",
      "-display",
      "none",
      "-chardev",
      "stdio,id=s,signal=off",
    ];
    await using running = await startProgram(qemu, [...argv, ...plain, "-serial", "chardev:s"], 10);
    return await rate(running);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** When the counter was read, in milliseconds of the host's clock, give or take. */
interface Reading {
  readonly tsc: bigint;
  readonly atMs: number;
  readonly errorMs: number;
}

async function rate(running: Running): Promise<number> {
  const counter = new Counter(running.stdin, running.stdout);
  const first = await counter.best();
  const startMs = performance.now();
  for (let waitMs = 200; ; waitMs = 200) {
    await delay(waitMs);
    const last = await counter.best();
    const elapsedMs = last.atMs - first.atMs;
    if ((first.errorMs + last.errorMs) / elapsedMs <= wantedError) {
      const khz = Math.round(Number(last.tsc - first.tsc) / elapsedMs);
      if (plausible(khz)) return khz;
      throw new MachineError("unsupported", `the time stamp counter runs at ${khz} kHz, which can't be`);
    }
    if (performance.now() - startMs > longestMs) {
      throw new MachineError("unsupported", "the host is too busy to measure the rate of its time stamp counter");
    }
  }
}

class Counter {
  readonly #ask: Running["stdin"];
  readonly #answers: AsyncIterator<Buffer>;
  constructor(ask: Running["stdin"], answers: Readable) {
    this.#ask = ask;
    this.#answers = answers[Symbol.asyncIterator]();
  }

  /** The most exact of some readings. */
  async best(): Promise<Reading> {
    let best = await this.#read();
    for (let turn = 1; turn < 12; turn++) {
      const next = await this.#read();
      if (next.errorMs < best.errorMs) best = next;
    }
    return best;
  }

  async #read(): Promise<Reading> {
    const beforeMs = performance.now();
    this.#ask.write("?");
    const pieces: Buffer[] = [];
    let length = 0;
    let afterMs = 0;
    while (length < 8) {
      const next = await this.#answers.next();
      if (next.done === true) throw new MachineError("unsupported", "QEMU ended before it read the counter");
      // The first byte comes right after the reading; the others do not matter for the time.
      if (length === 0) afterMs = performance.now();
      pieces.push(next.value);
      length += next.value.length;
    }
    const errorMs = (afterMs - beforeMs) / 2;
    return { tsc: Buffer.concat(pieces).readBigUInt64LE(), atMs: beforeMs + errorMs, errorMs };
  }
}
