import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { channelFault } from "@exai/machine";
import { type Boot, hostArguments, runFiles } from "./arguments.ts";
import { HostError } from "./errors.ts";

const qemu = "/usr/bin/qemu-system-x86_64";
/** The first descriptor that a child gets beside its standard ones. */
const stateFd = 3;
const longestConsole = 64 * 1024;
const failureLines = 8;
/** Takes room only as it is used. */
const scratchBytes = 8 * 2 ** 30;
const prefix = "exai-nested-";

export interface Ended {
  /** Of the emulator: 0 also after a panic, which ends the machine like a power-off. */
  code: number | null;
  how: string;
}

/** Removes the folders of runs that were killed: their emulators died with them, their folders could not. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = name.startsWith(prefix) ? name.slice(prefix.length).split("-")[0] : undefined;
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

/** A disk for the suites' files: in memory, they would count for the limit of whoever writes them. */
function makeScratch(path: string): void {
  writeFileSync(path, "");
  truncateSync(path, scratchBytes);
  execFileSync("/usr/sbin/mke2fs", ["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", path]);
}

interface Lost {
  console: string;
  /** Its emulator still runs, several processors at once, and nobody answers. */
  stopped: boolean;
  cause?: unknown;
}

/** What its kernel's last words say of a nested host that is lost. */
export function hostFailure(sentence: string, { console, stopped, cause }: Lost): HostError {
  const lines = console.trim().split("\n");
  const fatal = lines.find((line) => /Kernel panic|exai-guest: fatal/.test(line));
  const says = fatal ? `says: ${fatal}` : `ends with:\n${lines.slice(-failureLines).join("\n")}`;
  return new HostError(stopped && fatal === undefined ? "stalled" : "boot", `${sentence}; its console ${says}`, {
    cause,
  });
}

/** QEMU, and the folder of its sockets. Disposed of: killed, waited for, the folder removed. */
export class HostProcess implements AsyncDisposable {
  readonly run: string;
  readonly exited: Promise<Ended>;
  readonly #child: ChildProcess;
  readonly #several: boolean;
  #stderr = "";

  /** @param statePath a saved state to go on from */
  constructor(boot: Omit<Boot, "run" | "stateFd">, statePath?: string) {
    sweep();
    this.#several = boot.shape.cpus > 1;
    this.run = mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
    const state = statePath === undefined ? undefined : openSync(statePath, "r");
    try {
      makeScratch(join(this.run, runFiles.scratch));
      const argv = hostArguments({ ...boot, run: this.run, ...(state === undefined ? {} : { stateFd }) });
      // It dies with us, however we die: a test run that is killed must not leave an emulator behind.
      this.#child = spawn("/usr/bin/setpriv", ["--pdeathsig", "KILL", qemu, ...argv], {
        stdio: ["ignore", "ignore", "pipe", ...(state === undefined ? [] : [state])],
        env: { PATH: "/usr/bin:/bin" },
      });
    } finally {
      if (state !== undefined) closeSync(state);
    }
    this.#child.stderr?.on("data", (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString("utf8")).slice(-4000);
    });
    this.exited = new Promise((resolve) => {
      this.#child.once("error", (error) => resolve({ code: null, how: `could not be started: ${error.message}` }));
      this.#child.once("close", (code, signal) => {
        // It warns of each feature of the processor that it does not emulate.
        const said = this.#stderr
          .trim()
          .split("\n")
          .findLast((line) => !line.includes(": warning: "));
        resolve({ code, how: `ended with ${code ?? signal}${said ? `: ${said}` : ""}` });
      });
    });
  }

  path(file: keyof typeof runFiles): string {
    return join(this.run, runFiles[file]);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The end of what its kernel and init have printed. */
  console(): string {
    const path = this.path("console");
    return existsSync(path) ? readFileSync(path, "utf8").replaceAll("\r", "").slice(-longestConsole) : "";
  }

  /** An error that says what is known about why. */
  failure(sentence: string, cause?: unknown): HostError {
    const { exitCode, signalCode } = this.#child;
    const runs = exitCode === null && signalCode === null;
    const stopped = runs && this.#several && channelFault(cause)?.code === "unresponsive";
    return hostFailure(sentence, { console: this.console(), stopped, cause });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.exited;
    rmSync(this.run, { recursive: true, force: true });
  }
}
