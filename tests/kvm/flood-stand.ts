import { readFileSync } from "node:fs";
import { join } from "node:path";
import { bytes } from "@exai/machine/contract";
import { Stand } from "../../packages/tenant/src/testing/stand.ts";
import { pssMib } from "../../tools/bench/pss.ts";
import { percentile } from "../../tools/bench/result.ts";
import { ChannelProcess } from "../support/channel-process.ts";
import { type HostileHost, launchHostile, logBytes } from "../support/hostile-guest.ts";
import { firecrackerHost } from "./machine-kvm.ts";

type Vm = Awaited<ReturnType<typeof launchHostile>>;
type Client = ReturnType<Stand["client"]>;

const calls = 100;
const longestMs = 600_000;

export interface Measured {
  /** p99 of the neighbour's exec in ms: before, and in each round beside the flood until one was good. */
  aloneMs: number;
  besideMs: number[];
  /** Growth in MiB. */
  channelMib: number;
  keeperMib: number;
  agentMib: number;
  logBytes: number;
}

/** A real channel process with a quiet workspace, beside which others are loud. The node agent is in this process. */
export class FloodStand implements AsyncDisposable {
  readonly host: HostileHost;
  readonly #stand: Stand;
  readonly #channel: ChannelProcess;
  readonly #quiet: Client;

  static async begin(): Promise<FloodStand> {
    const host = await firecrackerHost();
    const stand = await Stand.make();
    const channel = await ChannelProcess.start(host.driver.host, stand);
    const { workspace } = await host.driver.launch({ cpus: 1, memoryMib: 128, diskMib: 64 });
    const started = new FloodStand(host, stand, channel, stand.client(workspace, { url: channel.url }));
    await started.#p99(calls); // compiles
    return started;
  }

  private constructor(host: HostileHost, stand: Stand, channel: ChannelProcess, quiet: Client) {
    this.host = host;
    this.#stand = stand;
    this.#channel = channel;
    this.#quiet = quiet;
  }

  /** An honest guest with a loud program. */
  async honest(script: string): Promise<Vm> {
    const vm = await this.host.driver.launch({ cpus: 1, memoryMib: 128, diskMib: 128 });
    const { processes } = this.#stand.client(vm.workspace, { url: this.#channel.url });
    await processes.start({ argv: ["sh", "-c", script].map(bytes), user: "root" });
    return vm;
  }

  hostile(words: string): Promise<Vm> {
    return launchHostile(this.host, words);
  }

  /** @param start begins the flood; @param until what the guest prints when it is through, for at most ten minutes */
  async measure(start: () => Promise<Vm>, until?: RegExp): Promise<Measured & { console: string }> {
    const aloneMs = await this.#p99(calls);
    const [channel, agent] = [pssMib(this.#channel.child.pid ?? 0), process.memoryUsage().rss];
    const vm = await start();
    const { launcherPid } = JSON.parse(
      readFileSync(join(vm.folder, "status.json"), "utf8").split("\n")[0] ?? "",
    ).started;
    const keeper = pssMib(launcherPid);
    const [besideMs, startedMs]: [number[], number] = [[], performance.now()];
    let [channelMib, keeperMib, agentMib] = [0, 0, 0];
    for (let through = false; !through; ) {
      besideMs.push(await this.#p99(calls));
      channelMib = Math.max(channelMib, pssMib(this.#channel.child.pid ?? 0) - channel);
      agentMib = Math.max(agentMib, (process.memoryUsage().rss - agent) / 2 ** 20);
      keeperMib = Math.max(keeperMib, keeperNow(launcherPid) - keeper);
      const late = performance.now() - startedMs > longestMs;
      const good = besideMs.length >= 3 || Math.min(...besideMs) <= 2 * aloneMs;
      through = until === undefined ? good : late || until.test(await vm.console());
    }
    const console = await vm.console();
    const kept = logBytes(vm.folder, this.host.driver);
    await vm.machine.destroy();
    return { aloneMs, besideMs, channelMib, keeperMib, agentMib, logBytes: kept, console };
  }

  async #p99(times: number): Promise<number> {
    const taken: number[] = [];
    for (let n = 0; n < times; n++) {
      const startedMs = performance.now();
      const events = await Array.fromAsync(this.#quiet.processes.run({ argv: [bytes("true")], user: "root" }));
      const last = events.at(-1)?.event;
      if (last?.case !== "exited" || last.value.code !== 0) throw new Error("'true' failed in the quiet workspace");
      taken.push(performance.now() - startedMs);
    }
    return percentile(taken, 99);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#channel[Symbol.asyncDispose]();
    await this.host.driver[Symbol.asyncDispose]();
    await this.#stand[Symbol.asyncDispose]();
  }
}

/** A keeper goes with its VMM, and a guest that floods may bring that down. */
function keeperNow(pid: number): number {
  try {
    return pssMib(pid);
  } catch {
    return 0;
  }
}
