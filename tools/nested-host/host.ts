import { realpathSync } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { FileKind } from "@exai/api/guest";
import { channelFault, type GuestSession, hostTscKhz } from "@exai/machine";
import { cachePaths } from "../build/paths.ts";
import { type HostShape, type Share, usualShape } from "./arguments.ts";
import { type CommandOptions, type CommandResult, runCommand } from "./command.ts";
import { connect } from "./connect.ts";
import { HostError } from "./errors.ts";
import { type Ended, HostProcess } from "./process.ts";
import { mountShares, usualShares } from "./shares.ts";
import { savedState } from "./state.ts";
import { hostFolder } from "./steps.ts";

export interface NestedHostOptions {
  shape?: HostShape;
  /** Boot, although there may be a saved state to go on from. */
  fresh?: boolean;
  shares?: readonly Share[];
  signal?: AbortSignal;
}

const powerOffMs = 30_000;
const deathMs = 5000;

/**
 * A host in a VM: an emulated x86 machine whose kernel has a working /dev/kvm, cgroup v2 and device-mapper, for tests of
 * what the machine itself can't do. Its init is our guest agent, so that commands, files and power-off go over the
 * channel that every guest has. Disposed of, it is killed and nothing is left.
 */
export class NestedHost implements AsyncDisposable {
  readonly restored: boolean;
  readonly #process: HostProcess;
  readonly #session: GuestSession;

  private constructor(process: HostProcess, session: GuestSession, restored: boolean) {
    this.#process = process;
    this.#session = session;
    this.restored = restored;
  }

  /** @throws HostError `missing`, `boot`, `monitor` */
  static async start(options: NestedHostOptions = {}): Promise<NestedHost> {
    const { shape = usualShape, shares = usualShares(), signal } = options;
    const boot = { shape, files: builtFiles(), shares, tscKhz: await tscKhz() };
    const state = options.fresh === true ? undefined : await savedState(boot, signal);
    const process = new HostProcess(boot, state);
    try {
      const session = await connect(process, signal);
      const host = new NestedHost(process, session, state !== undefined);
      await mountShares(host, shares);
      return host;
    } catch (error) {
      await process[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Settles when the machine has gone. */
  get exited(): Promise<Ended> {
    return this.#process.exited;
  }

  console(): string {
    return this.#process.console();
  }

  /** @throws HostError `command` when it could not be started, `boot` or `stalled` when the machine was lost meanwhile */
  async run(argv: readonly [string, ...string[]], options: CommandOptions = {}): Promise<CommandResult> {
    try {
      return await runCommand(this.#session, argv, options);
    } catch (cause) {
      if (options.signal?.aborted) throw new HostError("command", `'${argv[0]}' was given up`, { cause });
      if (channelFault(cause) === undefined)
        throw new HostError("command", `'${argv[0]}' could not be run in the nested host`, { cause });
      // A machine that dies cuts its channel first.
      const ended = await this.#exitsWithin(deathMs);
      throw this.#process.failure(`the nested host ${ended?.how ?? "cut its channel"}`, cause);
    }
  }

  /** The standard output of a program that must succeed. */
  async output(argv: readonly [string, ...string[]], options: CommandOptions = {}): Promise<string> {
    const stdout: Uint8Array[] = [];
    const stderr: Uint8Array[] = [];
    const { code } = await this.run(argv, {
      ...options,
      onStdout: (data) => void stdout.push(data),
      onStderr: (data) => void stderr.push(data),
    });
    if (code === 0) return Buffer.concat(stdout).toString("utf8");
    const said = Buffer.concat(stderr).toString("utf8").trim().slice(-500);
    throw new HostError("command", `'${argv.join(" ")}' ended with ${code}: ${said}`);
  }

  /** Copies the files of a folder, and of those below it, into `target`. What is neither file nor folder stays. */
  async copyOut(folder: string, target: string): Promise<void> {
    const context = { user: "root" };
    await mkdir(target, { recursive: true });
    for await (const entry of this.#session.files.list({ path: Buffer.from(folder), context })) {
      const name = Buffer.from(entry.name).toString("utf8");
      const [from, to] = [join(folder, name), join(target, name)];
      if (entry.kind === FileKind.DIRECTORY) await this.copyOut(from, to);
      if (entry.kind !== FileKind.FILE) continue;
      await using file = await open(to, "w");
      for await (const { data } of this.#session.files.read({ path: Buffer.from(from), context }))
        await file.write(data);
    }
  }

  async putFile(path: string, content: Uint8Array): Promise<void> {
    const write = { path: Buffer.from(path), context: { user: "root" }, parents: true };
    async function* frames() {
      yield { frame: { case: "open" as const, value: write } };
      yield { frame: { case: "data" as const, value: content } };
    }
    await this.#session.files.write(frames());
  }

  /** Orderly: programs are ended, the machine switches itself off. @throws HostError `boot` when it does not */
  async powerOff(): Promise<void> {
    try {
      await this.#session.machine.shutdown({ graceMs: 1000 });
      const ended = await this.#exitsWithin(powerOffMs);
      if (ended?.code !== 0)
        throw this.#process.failure(`the nested host ${ended?.how ?? "did not switch itself off"}`);
    } finally {
      await this[Symbol.asyncDispose]();
    }
  }

  #exitsWithin(ms: number): Promise<Ended | undefined> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => resolve(undefined), ms);
    return Promise.race([this.#process.exited, promise]).finally(() => clearTimeout(timer));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#session[Symbol.dispose]();
    await this.#process[Symbol.asyncDispose]();
  }
}

function builtFiles(): string {
  try {
    return realpathSync(hostFolder());
  } catch (cause) {
    const how = "run 'node tools/build/main.ts --only nested-host,firecracker'";
    throw new HostError("missing", `the nested host is not built; ${how}`, { cause });
  }
}

const tscKhz = (): Promise<number> => hostTscKhz({ memoryFile: join(cachePaths().build, "tsc-khz.json") });
