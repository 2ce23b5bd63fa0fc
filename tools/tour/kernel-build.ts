import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";
import { cachePaths } from "../build/paths.ts";

const builder = resolve(import.meta.dirname, "../build/main.ts");
const index = z.record(z.string(), z.string());

/** Our kernel's build, in the background at low priority, with its progress. */
export class KernelBuild implements Disposable {
  readonly #signal: AbortSignal;
  #child: ChildProcess | undefined;
  #done: Promise<void> = Promise.resolve();

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Whether an image with our kernel is in the store already. */
  get ready(): boolean {
    const file = join(cachePaths().images, "index.json");
    return existsSync(file) && index.parse(JSON.parse(readFileSync(file, "utf8")))["base"] !== undefined;
  }

  get done(): Promise<void> {
    return this.#done;
  }

  start(onProgress: (text: string) => void): void {
    const child = spawn("nice", ["-n", "15", process.execPath, builder, "--only", "image", "--progress"], {
      stdio: ["ignore", "pipe", "pipe"],
      signal: this.#signal,
    });
    this.#child = child;
    let said = "";
    const listen = (chunk: Buffer) => {
      said = chunk.toString("utf8").trim().split("\n").at(-1) ?? said;
      onProgress(`our kernel: ${said}`);
    };
    child.stdout.on("data", listen);
    child.stderr.on("data", listen);
    this.#done = new Promise((done, fail) => {
      child.once("error", fail);
      child.once("close", (code) => (code === 0 ? done() : fail(new Error(`our kernel was not built: ${said}`))));
    });
    this.#done.catch(() => undefined); // whoever waits for it hears of it
  }

  [Symbol.dispose](): void {
    this.#child?.kill("SIGTERM");
  }
}
