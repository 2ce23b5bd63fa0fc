import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeContract } from "@exai/api/host";
import { newLifetimeId, newWorkspaceId, type WorkspaceId } from "@exai/base";
import { createIpcClient, type IpcClient } from "@exai/ipc";
import { type NodeCalls, nodeCalls, planFirecracker } from "@exai/machine";
import { bytes } from "@exai/machine/contract";
import { Stand } from "../../packages/tenant/src/testing/stand.ts";
import { pssMib } from "../../tools/bench/pss.ts";
import { percentile } from "../../tools/bench/result.ts";
import { cpuMs, processCpuMs } from "../../tools/bench-kvm/cpu-time.ts";
import { hostileGuest } from "../../tools/build/hostile-guest.ts";
import { firecrackerFolder } from "../../tools/nested-host/firecracker.ts";
import { ChannelProcess } from "../support/channel-process.ts";
import { logBytes } from "../support/hostile-guest.ts";
import { AgentProcess } from "../vm/agent-process.ts";
import { HostFixture } from "../vm/host-fixture.ts";
import { holds, type Measured, parties, type Samples, type Shares, sharesOf } from "./flood-figures.ts";
import { collectOwn, goesOn, standsStill } from "./stillness.ts";
import { bootFiles, imageStore } from "./where.ts";

type Client = ReturnType<Stand["client"]>;

/**
 * Execs in turns, so many while the flood stands still (its group is frozen) and so many beside it: what else disturbs
 * the machine disturbs both. So many turns make a round; each round adds to the figures of those before, so that one bad
 * second of a shared machine weighs less and less.
 */
const inTurn = 25;
/** Before anything is measured: V8 compiles the channel's code and ours for so long, beside whatever else goes on. */
const warmUp = 300;
const turns = 4;
/** After each change, not counted: what the flood has left behind is worked off. */
const settle = 5;
const rounds = 6;
const longestMs = 600_000;
const size = { cpus: 1, memoryMib: 128 };

/** A node agent and a channel process with a quiet workspace, beside which others are loud. */
export class FloodStand implements AsyncDisposable {
  readonly host: HostFixture;
  readonly #stand: Stand;
  readonly #agent: AgentProcess;
  readonly #client: IpcClient<typeof nodeContract>;
  readonly #channel: ChannelProcess;
  #quiet: Client;
  #quietWorkspace: WorkspaceId;

  static async begin(): Promise<FloodStand> {
    const host = new HostFixture({ imageStore, firecracker: join(firecrackerFolder(), "firecracker") });
    const stand = await Stand.make();
    const agent = new AgentProcess(host);
    await agent.serving();
    const started = new FloodStand(host, stand, agent, await ChannelProcess.start(host, stand));
    started.#quietWorkspace = await started.#launch(planFirecracker(bootFiles("base"), size));
    started.#quiet = started.#clientOf(started.#quietWorkspace);
    await started.#exec(warmUp);
    return started;
  }

  private constructor(host: HostFixture, stand: Stand, agent: AgentProcess, channel: ChannelProcess) {
    this.host = host;
    this.#stand = stand;
    this.#agent = agent;
    this.#client = createIpcClient(agent.socket, nodeContract);
    this.#channel = channel;
    this.#quietWorkspace = newWorkspaceId();
    this.#quiet = this.#clientOf(this.#quietWorkspace);
  }

  get #calls(): NodeCalls {
    return nodeCalls(this.#client);
  }

  #clientOf(workspace: WorkspaceId): Client {
    return this.#stand.client(workspace, { url: this.#channel.url });
  }

  async #launch(plan: ReturnType<typeof planFirecracker>): Promise<WorkspaceId> {
    const workspace = newWorkspaceId();
    await this.#calls.prepare({ workspace, diskMib: 128 });
    await this.#calls.launch({ workspace, lifetime: newLifetimeId(), ...plan });
    return workspace;
  }

  /** An honest guest with a loud program. */
  async honest(script: string): Promise<WorkspaceId> {
    const workspace = await this.#launch(planFirecracker(bootFiles("base"), size));
    const argv = ["sh", "-c", script].map(bytes);
    await this.#clientOf(workspace).processes.start({ argv, user: "root" });
    return workspace;
  }

  hostile(words: string): Promise<WorkspaceId> {
    const image = { ...bootFiles("base"), kernel: hostileGuest(), commandLine: `${words} ram=${size.memoryMib}` };
    return this.#launch(planFirecracker(image, size));
  }

  /** @param start begins the flood; @param until what the guest prints when it is through, for at most ten minutes */
  async measure(start: () => Promise<WorkspaceId>, until?: RegExp): Promise<Measured & { console: string }> {
    // A token lives five minutes.
    this.#quiet = this.#clientOf(this.#quietWorkspace);
    await this.#exec(1); // connects
    const before = this.#ownMib();
    const loud = await start();
    await using _flood = { [Symbol.asyncDispose]: async () => void (await this.#calls.remove({ workspace: loud })) };
    return await this.#watch(loud, before, until);
  }

  async #watch(loud: WorkspaceId, before: Record<"channel" | "agent", number>, until?: RegExp) {
    const folder = join(this.host.config.vmsFolder, loud);
    const { launcherPid } = JSON.parse(readFileSync(join(folder, "status.json"), "utf8").split("\n")[0] ?? "").started;
    const [keeper, startedMs] = [mib(launcherPid), performance.now()];
    const samples: Samples = { alone: [], beside: [] };
    const p99Ms: Measured["p99Ms"] = [];
    const measured = (): boolean => p99Ms.length >= rounds || holds(p99Ms);
    const grown = { channelMib: 0, keeperMib: 0, agentMib: 0 };
    let shares = sharesOf(() => 0);
    for (let through = false; !through; ) {
      if (!measured()) {
        shares = await this.#round(loud, samples);
        p99Ms.push({ alone: percentile(samples.alone, 99), beside: percentile(samples.beside, 99) });
      } else await sleep(1000);
      const now = this.#ownMib();
      grown.channelMib = Math.max(grown.channelMib, now.channel - before.channel);
      grown.agentMib = Math.max(grown.agentMib, now.agent - before.agent);
      grown.keeperMib = Math.max(grown.keeperMib, mib(launcherPid) - keeper);
      const late = performance.now() - startedMs > longestMs;
      through = late || (measured() && (until === undefined || until.test(readConsole(this.host, loud))));
    }
    const said = readConsole(this.host, loud);
    return { p99Ms, ...grown, shares, logBytes: logBytes(this.host, loud), console: said };
  }

  /** @param into where the times go; @returns who took the CPU beside the flood */
  async #round(loud: WorkspaceId, into: Samples): Promise<Shares> {
    const group = join(this.host.cgroups ?? "", loud);
    const freezer = join(group, "cgroup.freeze");
    const used = sharesOf(() => 0);
    let tookMs = 0;
    for (let turn = 0; turn < turns; turn++) {
      writeFileSync(freezer, "1");
      await standsStill(group);
      collectOwn();
      await this.#exec(settle);
      into.alone.push(...(await this.#exec(inTurn)));
      writeFileSync(freezer, "0");
      await goesOn(group);
      collectOwn();
      await this.#exec(settle);
      const [before, fromMs] = [this.#usedMs(loud), performance.now()];
      into.beside.push(...(await this.#exec(inTurn)));
      const after = this.#usedMs(loud);
      tookMs += performance.now() - fromMs;
      for (const party of parties) used[party] += after[party] - before[party];
    }
    return sharesOf((party) => used[party] / tookMs);
  }

  #ownMib(): Record<"channel" | "agent", number> {
    return { channel: mib(this.#channel.child.pid ?? 0), agent: mib(this.#agent.child.pid ?? 0) };
  }

  /** CPU time until now in ms; of the channel and the client, their own. */
  #usedMs(loud: WorkspaceId): Shares {
    const group = (workspace: WorkspaceId): number => cpuMs(join(this.host.cgroups ?? "", workspace));
    const [channel, agent] = [this.#channel, this.#agent].map(({ child }) => processCpuMs(child.pid ?? 0));
    const client = processCpuMs(process.pid);
    return { loud: group(loud), quiet: group(this.#quietWorkspace), channel: channel ?? 0, agent: agent ?? 0, client };
  }

  /** @returns how long each took, in ms */
  async #exec(times: number): Promise<number[]> {
    const taken: number[] = [];
    for (let n = 0; n < times; n++) {
      const startedMs = performance.now();
      const events = await Array.fromAsync(this.#quiet.processes.run({ argv: [bytes("true")], user: "root" }));
      const last = events.at(-1)?.event;
      if (last?.case !== "exited" || last.value.code !== 0) throw new Error("'true' failed in the quiet workspace");
      taken.push(performance.now() - startedMs);
    }
    return taken;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]();
    await this.#channel[Symbol.asyncDispose]();
    await this.#agent[Symbol.asyncDispose]();
    await this.host[Symbol.asyncDispose]();
    await this.#stand[Symbol.asyncDispose]();
  }
}

/** A keeper goes with its VMM, and a guest that floods may bring that down: then it holds nothing. */
function mib(pid: number): number {
  try {
    return pssMib(pid);
  } catch {
    return 0;
  }
}

const readConsole = (host: HostFixture, workspace: WorkspaceId): string =>
  readFileSync(join(host.config.runFolder, "t", host.tenants[0], "vm", workspace, "console.log"), "utf8");
